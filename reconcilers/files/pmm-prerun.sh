#!/bin/sh
# Runs in the container `pmm-client`, before its agent goes on: makes this instance known to the PMM server.
#
# Environment: that of the container, see `pmm.py`. The password goes by a file, since arguments are for all to
# see. An instance that is known already was forgotten by `pmm-agent setup --force` a moment ago.
set -eu
name=$PMM_AGENT_SETUP_NODE_NAME credentials=/tmp/pmm-credentials.json

pmm-admin status --wait=10s
(
    umask 077
    printf '{"username":"%s","password":"%s","agentpassword":""}' "$DB_USER" "$DB_PASS" >"$credentials"
)
trap 'rm -f "$credentials"' EXIT
set -f
# shellcheck disable=SC2086  # arguments of the user, as words
pmm-admin add postgresql --credentials-source="$credentials" --skip-connection-check --metrics-mode=push \
    --tls --tls-skip-verify --tls-ca-file=/pgconf/tls/ca.crt --tls-cert-file=/pgconf/tls/tls.crt \
    --tls-key-file=/pgconf/tls/tls.key --service-name="$name" --query-source="$PMM_QUERY_SOURCE" \
    --cluster="$CLUSTER_NAME" --host=127.0.0.1 --port="$DB_PORT" ${PMM_ADMIN_CUSTOM_PARAMS-}
pmm-admin add external --service-name="$name-patroni-external" --scheme=https --tls-skip-verify \
    --listen-port="$PATRONI_PORT" --cluster="$CLUSTER_NAME" --environment="$POD_NAMESPACE" \
    --metrics-mode=push || echo "Patroni's metrics are not collected" >&2
pmm-admin annotate --service-name="$name" 'Service restarted' || true
