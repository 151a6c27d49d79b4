#!/bin/sh
# PostgreSQL's image runs this once, when its volume is new: a role and a database each for MLflow and for the functions.
set -eu
for name in mlflow loop; do
    psql --username postgres --dbname postgres --set ON_ERROR_STOP=1 --set name="$name" --set password="$POSTGRES_PASSWORD" <<'SQL'
CREATE ROLE :"name" LOGIN PASSWORD :'password';
CREATE DATABASE :"name" OWNER :"name";
REVOKE CONNECT ON DATABASE :"name" FROM PUBLIC;
SQL
done
