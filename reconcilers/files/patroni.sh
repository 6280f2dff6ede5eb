#!/bin/bash
# patroni.sh ADDRESS PATH BODY: ask a member's Patroni for something, by the pod's own certificate.
#
# Its answer goes to standard output; where that is a refusal, to standard error, and the status is 1.
set -u
folder=${PATRONI_CERTIFICATES:-/etc/patroni/~postgres-operator}
answer=$(curl --silent --show-error --max-time "${PATRONI_SECONDS:-60}" \
    --cacert "$folder/patroni.ca-roots" --cert "$folder/patroni.crt+key" \
    --data "$3" --write-out '\n%{http_code}' "${PATRONI_SCHEME:-https}://$1/$2") || exit 1
code=${answer##*$'\n'} text=${answer%$'\n'*}
case $code in
2??) echo "$text" ;;
*) echo "${text:-Patroni answered with status $code}" >&2; exit 1 ;;
esac
