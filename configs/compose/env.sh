#!/bin/sh
# Writes .env, in the present folder, with new secrets for compose.yaml. One that is there is left as it
# is: without its SECRETS_KEY nothing can be sent to the destinations that are stored.
set -eu

if [ -e .env ]; then
	echo ".env is there already, and left as it is" >&2
	exit 0
fi

# Letters and digits, as part of it goes into an address.
password() { od -An -N24 -tx1 /dev/urandom | tr -d ' \n'; }
key() { head -c 32 /dev/urandom | base64 | tr -d '\n'; }

umask 077
new=$(mktemp .env.XXXXXX)
trap 'rm -f "$new"' EXIT
cat >"$new" <<END
# Made by configs/compose/env.sh. Keep a copy where the database's backups are not: SECRETS_KEY opens
# what is secret in them. .env.example says what else can stand here.
POSTGRES_PASSWORD=$(password)
DATABASE_PASSWORD=$(password)
API_DB_PASSWORD=$(password)
WORKER_DB_PASSWORD=$(password)
SECRETS_KEY=$(key)
WEBHOOK_SECRET=whsec_$(key)
GRAFANA_ADMIN_PASSWORD=$(password)
GRAFANA_DB_PASSWORD=$(password)
EXPORTER_DB_PASSWORD=$(password)
END
mv "$new" .env
echo ".env is written" >&2
