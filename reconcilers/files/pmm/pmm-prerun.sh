#!/bin/sh
# Runs in the container `pmm-client` before its agent starts: register this instance with the PMM server.
#
# Environment: that of the container, see `build_pmm_sidecar.py`. The password is passed in a file, because other
# processes can see arguments. `pmm-agent setup --force` has removed an earlier registration of the instance just
# before.
set -eu
name=$PMM_AGENT_SETUP_NODE_NAME credentials=/tmp/pmm-credentials.json

pmm-admin status --wait=10s
(
    umask 077
    printf '{"username":"%s","password":"%s","agentpassword":""}' "$DB_USER" "$DB_PASS" >"$credentials"
)
trap 'rm -f "$credentials"' EXIT
set -f
# shellcheck disable=SC2086  # the user's arguments must be split into words
pmm-admin add postgresql --credentials-source="$credentials" --skip-connection-check --metrics-mode=push \
    --tls --tls-skip-verify --tls-ca-file=/pgconf/tls/ca.crt --service-name="$name" \
    --query-source="$PMM_QUERY_SOURCE" --cluster="$CLUSTER_NAME" --host=127.0.0.1 --port="$DB_PORT" \
    ${PMM_ADMIN_CUSTOM_PARAMS-}
pmm-admin add external --service-name="$name-patroni-external" --scheme=https --tls-skip-verify \
    --listen-port="$PATRONI_PORT" --cluster="$CLUSTER_NAME" --environment="$POD_NAMESPACE" \
    --metrics-mode=push || echo "could not register Patroni's metrics with PMM: they are not collected" >&2
pmm-admin annotate --service-name="$name" 'Service restarted' || true
