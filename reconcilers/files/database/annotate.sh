# shellcheck shell=bash
# annotate.sh: report something as an annotation of this pod. This file is sourced.
#
# Environment: HOSTNAME, the pod's name.

# json TEXT: print the text as a JSON string, in one line.
json() {
    local text=${1//\\/\\\\}
    text=${text//\"/\\\"}
    printf '"%s"' "${text//[[:cntrl:]]/ }"
}

# annotate NAME VALUE: patch the annotation pgv2.percona.com/NAME of this pod; VALUE is JSON. Fails if the API server
# cannot be reached, or refuses.
annotate() {
    local account=${SERVICE_ACCOUNT:-/var/run/secrets/kubernetes.io/serviceaccount}
    # Patroni does not pass Kubernetes' environment variables to PostgreSQL, so the name is used everywhere.
    local server=${API_SERVER:-https://kubernetes.default.svc}
    curl --silent --fail --output /dev/null --max-time 10 --request PATCH --cacert "$account/ca.crt" \
        --header @<(printf 'Authorization: Bearer %s' "$(<"$account/token")") \
        --header 'Content-Type: application/merge-patch+json' \
        --data "{\"metadata\":{\"annotations\":{\"pgv2.percona.com/$1\":$2}}}" \
        "$server/api/v1/namespaces/$(<"$account/namespace")/pods/$HOSTNAME"
}
