{{/* The cluster's name, in at most 21 characters: those of its objects are made of it. */}}
{{- define "pg-db.fullname" -}}
{{- $chart := default .Chart.Name .Values.nameOverride -}}
{{- $name := ternary .Release.Name (printf "%s-%s" .Release.Name $chart) (contains $chart .Release.Name) -}}
{{- default $name .Values.fullnameOverride | trunc 21 | trimSuffix "-" -}}
{{- end -}}

{{/* The spec as YAML: the values, less those of the chart itself, and what the chart maps. */}}
{{- define "pg-db.spec" -}}
{{- $spec := omit (deepCopy .Values) "global" "nameOverride" "fullnameOverride" "annotations" "labels" "finalizers" "repository" "customTLSSecret" "customReplicationTLSSecret" "customRootCATLSSecret" "secrets" -}}

{{- /* Passwords under `secrets` are placeholders of the original's values, which it reads no more than we do. */ -}}
{{- $secrets := omit (default dict .Values.secrets) "name" "primaryuser" "postgres" "pgbouncer" "pguser" -}}
{{- range $field := list "customTLSSecret" "customReplicationTLSSecret" "customRootCATLSSecret" -}}
{{- $secret := default dict (index $.Values $field) -}}
{{- if $secret.name -}}
{{- $secrets = set $secrets $field $secret -}}
{{- end -}}
{{- end -}}
{{- if $secrets -}}
{{- $spec = set $spec "secrets" $secrets -}}
{{- end -}}

{{- with $spec.pmm -}}
{{- if kindIs "map" .image -}}
{{- $_ := set . "image" (printf "%s:%v" .image.repository .image.tag) -}}
{{- end -}}
{{- if not .secret -}}
{{- $_ := set . "secret" (printf "%s-pmm-secret" (include "pg-db.fullname" $)) -}}
{{- end -}}
{{- end -}}

{{- range $field, $value := $spec -}}
{{- if kindIs "invalid" $value -}}
{{- $spec = unset $spec $field -}}
{{- end -}}
{{- end -}}
{{- toYaml $spec -}}
{{- end -}}
