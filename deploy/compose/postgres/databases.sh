#!/bin/sh
# Run on an empty data folder: a role and a database a service, and no way into a neighbour's. What exists is kept, so
# it can be run again when a service was added.
set -eu
for service in camera_ingest image_classifier aggregation dashboard; do
  made=$(psql -At -U "$POSTGRES_USER" -d postgres -c "SELECT 1 FROM pg_database WHERE datname = '$service'")
  [ -z "$made" ] || continue
  # The password goes in through a variable of psql: no argument list ever shows it.
  PASSWORD="$(cat "/run/postgres-secrets/$service")" psql -q -v ON_ERROR_STOP=1 -v service="$service" \
    -U "$POSTGRES_USER" -d postgres <<'SQL'
\getenv password PASSWORD
CREATE ROLE :"service" LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE CONNECTION LIMIT 150 PASSWORD :'password';
-- Said in full, so that every image of PostgreSQL makes the same: UTF-8, ordered by code point.
CREATE DATABASE :"service" OWNER :"service" TEMPLATE template0 ENCODING 'UTF8' LC_COLLATE 'C' LC_CTYPE 'C';
REVOKE ALL ON DATABASE :"service" FROM PUBLIC;
SQL
done
psql -q -v ON_ERROR_STOP=1 -U "$POSTGRES_USER" -d postgres -c 'REVOKE CONNECT ON DATABASE postgres, template1 FROM PUBLIC'
