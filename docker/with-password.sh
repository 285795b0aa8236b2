#!/bin/sh
# with-password.sh SECRET COMMAND...: runs COMMAND with the database's password in its environment, and nowhere else.
# The password is POSTGRES_PASSWORD or the content of the file SECRET; the file is empty where none was named.
set -eu

refuse() {
    echo "with-password.sh: $1; see .env.example" >&2
    exit 2
}

secret=$1
shift
from_file=
if [ -e "$secret" ]; then
    from_file=$(cat "$secret") || refuse "the file that POSTGRES_PASSWORD_FILE names cannot be read by user $(id -u)"
fi
password=${POSTGRES_PASSWORD:-$from_file}
if [ -z "$password" ]; then
    refuse "no database password: set POSTGRES_PASSWORD, or POSTGRES_PASSWORD_FILE to a file that holds it"
elif [ -n "$from_file" ] && [ "$from_file" != "$password" ]; then
    refuse "POSTGRES_PASSWORD and the file that POSTGRES_PASSWORD_FILE names hold different passwords; set one of them"
fi

# One for PostgreSQL's own entrypoint, one for libpq.
export POSTGRES_PASSWORD="$password" PGPASSWORD="$password"
exec "$@"
