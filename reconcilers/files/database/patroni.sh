#!/bin/bash
# patroni.sh ADDRESS PATH BODY: send a request to a member's Patroni, with the pod's own client certificate.
#
# The method is PATRONI_METHOD (POST). The answer is printed on standard output. If Patroni refuses, it is printed on
# standard error, with exit status 1.
set -u
folder=${PATRONI_CERTIFICATES:-/etc/patroni/~postgres-operator}
answer=$(curl --silent --show-error --max-time "${PATRONI_SECONDS:-60}" --request "${PATRONI_METHOD:-POST}" \
    --cacert "$folder/patroni.ca-roots" --cert "$folder/patroni.crt+key" \
    --data "$3" --write-out '\n%{http_code}' "${PATRONI_SCHEME:-https}://$1/$2") || exit 1
code=${answer##*$'\n'} text=${answer%$'\n'*}
case $code in
2??) echo "$text" ;;
*) echo "${text:-Patroni answered with status $code}" >&2; exit 1 ;;
esac
