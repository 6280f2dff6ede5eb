# shellcheck shell=bash
# To be sourced: gives the present user id the name `postgres` if the image has no name for it, as on OpenShift, where
# the id is arbitrary. PostgreSQL's peer authentication, pgBackRest and ssh-like tools need that name.
if ! id -un >/dev/null 2>&1 && [ -r "${NSS_WRAPPER_LIBRARY:=/usr/lib64/libnss_wrapper.so}" ]; then
    export NSS_WRAPPER_PASSWD=/tmp/nss_wrapper/passwd NSS_WRAPPER_GROUP=/tmp/nss_wrapper/group
    mkdir -p /tmp/nss_wrapper
    echo "postgres:x:$(id -u):$(id -g):PostgreSQL:/tmp:/bin/bash" >"$NSS_WRAPPER_PASSWD"
    echo "postgres:x:$(id -g):" >"$NSS_WRAPPER_GROUP"
    export LD_PRELOAD="$NSS_WRAPPER_LIBRARY${LD_PRELOAD:+:$LD_PRELOAD}"
fi
