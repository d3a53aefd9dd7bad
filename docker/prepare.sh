#!/usr/bin/env bash
# Make the secrets and certificates of compose.yaml, once; what is there already stays. Needs openssl.
set -euo pipefail
umask 077
secrets="${1:-$(dirname "$0")/secrets}"
mkdir -p "$secrets"
cd "$secrets"

word() { [ -s "$1" ] || openssl rand -hex 24 | tr -d '\n' > "$1"; }
for name in postgres_password airflow_password owner_password night_password governor_password console_password \
            reader_password redis_password api_secret_key jwt_secret; do word "$name"; done
# 32 bytes, URL-safe Base64. Lost, the passwords of Airflow's connections must be typed in again.
[ -s fernet_key ] || openssl rand 32 | openssl base64 -A | tr '+/' '-_' > fernet_key

[ -s ca.crt ] || openssl req -x509 -newkey rsa:3072 -nodes -days 3650 -subj "/CN=gtr-batch CA" \
  -addext "basicConstraints=critical,CA:TRUE" -addext "keyUsage=critical,keyCertSign,cRLSign" \
  -keyout ca.key -out ca.crt 2>/dev/null
certificate() {  # file name, host names
  [ -s "$1.crt" ] && return
  openssl req -newkey rsa:3072 -nodes -subj "/CN=$1" -keyout "$1.key" -out "$1.csr" 2>/dev/null
  openssl x509 -req -in "$1.csr" -CA ca.crt -CAkey ca.key -CAcreateserial -days 825 -out "$1.crt" \
    -extfile <(printf 'subjectAltName=%s\nextendedKeyUsage=serverAuth\n' "$2") 2>/dev/null
  rm "$1.csr"
}
certificate postgres DNS:postgres
certificate airflow DNS:api-server,DNS:localhost
grep -q "$(sed -n 2p ca.crt)" airflow.crt || cat ca.crt >> airflow.crt  # Airflow's tasks trust what stands in this file

tls="sslmode=verify-full&sslrootcert=/run/secrets/ca"
printf 'postgresql+psycopg2://airflow:%s@postgres:5432/airflow?%s' "$(cat airflow_password)" "$tls" > airflow_dsn
printf 'db+postgresql://airflow:%s@postgres:5432/airflow?%s' "$(cat airflow_password)" "$tls" > result_backend
printf 'redis://airflow:%s@redis:6379/0' "$(cat redis_password)" > broker_url
printf 'user default off\nuser airflow on #%s ~* &* +@all -@dangerous +info +keys\n' \
  "$(tr -d '\n' < redis_password | openssl dgst -sha256 -r | cut -d' ' -f1)" > redis_users
{ printf 'postgres:5432:gtr:gtr_night:%s\n' "$(cat night_password)"
  printf 'postgres:5432:gtr:gtr_decisions:%s\n' "$(cat governor_password)"
  printf 'postgres:5432:gtr:gtr_pages:%s\n' "$(cat console_password)"; } > gtr_pgpass

cp postgres_password superuser_password  # the same for the bootstrap, which runs as another user
# The images run as 10001 (ours), 999 (PostgreSQL, Redis): compose hands files over as they are, so they must own them.
if [ "$(id -u)" = 0 ]; then
  chown 10001:10001 ./*
  chown 999:999 postgres_password postgres.key postgres.crt redis_users
else
  echo "not root: give $secrets/* to 10001:10001, and postgres_password, postgres.*, redis_users to 999:999" >&2
fi
