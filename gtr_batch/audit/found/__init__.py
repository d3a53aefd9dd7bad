"""What an audit found, as frozen classes: one module a part of the report; their JSON is made and read in `filed`."""
