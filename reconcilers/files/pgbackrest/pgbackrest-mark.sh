# shellcheck shell=bash
# To be sourced: pgbackrest-job.sh, and the mark by which a repository belongs to one cluster.
#
# The mark is a file beside the stanza with the cluster's namespace, name, uid and system identifier. It is not
# encrypted: a cluster with another passphrase must be able to read it. A script gets its own cluster as OWNER, which is
# NAMESPACE/NAME/UID/SYSTEM. The MODE of a repository: `known`, the status records that the cluster has the stanza
# there; `take`, the user lets the cluster have the repository; `new` otherwise.

# shellcheck source=reconcilers/files/pgbackrest/pgbackrest-job.sh
. "${0%/*}/pgbackrest-job.sh"

mark_file=owner/db
# Status for a repository of another cluster.
FOREIGN=77

# own OWNER: set `namespace`, `name`, `uid` and `system`.
own() { IFS=/ read -r namespace name uid system <<<"$1"; }

# on_file REPO COMMAND...: run a command on a file of the repository; `output` gets its result or error.
on_file() {
    pgbackrest --stanza=db "--repo=$1" "${limits[@]}" --log-level-console=off --log-level-stderr=error \
        --no-log-timestamp "${@:2}" >"$output" 2>&1
}

# read_mark REPO: set the variables `mark_…`, which are empty without a mark. An error is never "no mark".
read_mark() {
    local key value status
    mark_namespace='' mark_name='' mark_uid='' mark_system=''
    on_file "$1" --raw --ignore-missing repo-get "$mark_file" </dev/null
    status=$?
    if ((status == 1)); then return; fi # pgBackRest's status for a missing file
    if ((status)); then
        local cause
        cause=$(complaint)
        fail "$status" "repo$1: cannot read the mark of its cluster, $mark_file: ${cause:-status $status}"
    fi
    while IFS='=' read -r key value; do
        case $key in
        namespace) mark_namespace=$value ;;
        name) mark_name=$value ;;
        uid) mark_uid=$value ;;
        system-identifier) mark_system=$value ;;
        esac
    done <"$output"
    [ -n "$mark_namespace" ] && [ -n "$mark_name" ] && [ -n "$mark_uid" ] ||
        fail 1 "repo$1: cannot parse the mark of its cluster, $mark_file: check this file in the repository"
}

# write_mark REPO: mark the repository as that of this cluster.
write_mark() {
    printf 'namespace=%s\nname=%s\nuid=%s\nsystem-identifier=%s\n' "$namespace" "$name" "$uid" "$system" |
        on_file "$1" --raw repo-put "$mark_file" || fail $? "repo$1: cannot write the mark of its cluster: $(complaint)"
}

# remove_mark REPO: remove the mark; a missing mark is no error.
remove_mark() { on_file "$1" repo-rm "$mark_file" </dev/null || fail $? "repo$1: $(complaint)"; }

# is_ours: whether the mark is that of this cluster, which may have been deleted and created again.
is_ours() { [ "$mark_uid" = "$uid" ] || [ "$mark_namespace/$mark_name" = "$namespace/$name" ]; }

# is_current: whether the mark has nothing to correct.
is_current() {
    [ "$mark_namespace/$mark_name/$mark_uid/$mark_system" = "$namespace/$name/$uid/$system" ]
}

# judge REPO MODE: set `refusal`, why this cluster must not use the repository, "" if it may; `stanza` and `backups`,
# whether it has any; and the variables of read_mark.
judge() {
    local repo=$1 mode=$2 systems present
    local next="set another repo$repo-path in spec.backups.pgbackrest.global of cluster $namespace/$name, or give it \
this repository with the annotation pgv2.percona.com/take-over-repository: repo$repo"
    refusal='' stanza='' backups=''
    read_mark "$repo"
    if [ -n "$mark_name" ] && ! is_ours && [ "$mode" != take ]; then
        refusal="repo$repo is the repository of cluster $mark_namespace/$mark_name: $next"
        return
    fi
    inventory "$repo"
    if [[ $info == *'"status":{"code":1,'* ]]; then return; fi # no stanza
    # shellcheck disable=SC2034  # for the scripts
    stanza=yes
    # shellcheck disable=SC2034
    if [[ $info == *'"backup":[{'* ]]; then backups=yes; fi
    systems=$(grep --only-matching '"system-id":[0-9]*' <<<"$info" | cut -d : -f 2)
    present=${systems##*$'\n'} # the last one: the stanza has been upgraded to it
    if [ "$mode" = take ]; then return; fi
    if [ -z "$mark_name" ]; then
        # The stanza of an older operator, or of Percona's.
        if [ "$mode" = known ] && [ "$present" = "$system" ]; then return; fi
        refusal="repo$repo already has a stanza, of database system ${present:-unknown}, which may be that of another \
cluster"
    elif [ "$present" != "$system" ] && ! has_had "$mode" "$systems"; then
        refusal="repo$repo has the backups of a former database of cluster $namespace/$name, system \
${present:-unknown}; the retention of the present database, system ${system:-unknown}, would delete them"
    fi
    refusal+=${refusal:+: $next}
}

# has_had MODE SYSTEMS: whether the stanza of these systems was that of this cluster before its database was replaced,
# by a major upgrade or by a restore.
has_had() {
    [ "$1" = known ] && return
    [ "$mark_uid" = "$uid" ] || return
    # A repository that was copied for this cluster has a mark without a system.
    [ -z "$mark_system" ] || grep --quiet --line-regexp --fixed-strings "$mark_system" <<<"$2"
}

# check REPO MODE: fail unless this cluster may use the repository.
check() {
    judge "$1" "$2"
    if [ -n "$refusal" ]; then fail "$FOREIGN" "$refusal"; fi
}
