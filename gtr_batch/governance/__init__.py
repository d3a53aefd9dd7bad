"""Which model stages tonight: gate, approval, promotion, rollback, shadow, withdrawal, restaging."""
