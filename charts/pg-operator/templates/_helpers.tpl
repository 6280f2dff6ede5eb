{{/* The name of every object: the release, with the chart's name unless it is in it already. */}}
{{- define "pg-operator.fullname" -}}
{{- $chart := default .Chart.Name .Values.nameOverride -}}
{{- $name := ternary .Release.Name (printf "%s-%s" .Release.Name $chart) (contains $chart .Release.Name) -}}
{{- default $name .Values.fullnameOverride | trunc 63 | trimSuffix "-" -}}
{{- end -}}

{{/* What never changes during a release's life, for selectors. */}}
{{- define "pg-operator.selector" -}}
app.kubernetes.io/name: {{ default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" }}
app.kubernetes.io/instance: {{ .Release.Name }}
pgv2.percona.com/control-plane: postgres-operator
{{- end -}}

{{- define "pg-operator.labels" -}}
{{ include "pg-operator.selector" . }}
app.kubernetes.io/component: operator
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
{{- end -}}

{{/* There is none to fall back on: what nobody can pull is told before anything is installed. */}}
{{- define "pg-operator.image" -}}
{{- $repository := .Values.operatorImageRepository -}}
{{- $named := .Values.image | default (ternary (printf "%s:%s" $repository .Chart.AppVersion) "" (ne $repository "")) -}}
{{- required "image: the operator's image is not published yet; build it (docs/howto/images.md) and name it" $named -}}
{{- end -}}

{{/* The watched namespaces, with commas and without spaces; empty for all of them. */}}
{{- define "pg-operator.watched" -}}
{{- if not .Values.watchAllNamespaces -}}
{{- default .Release.Namespace (.Values.watchNamespace | default "" | nospace | trimAll ",") -}}
{{- end -}}
{{- end -}}

{{/* A Role for one namespace and the account's binding to it: (list $ namespace rules-as-text). */}}
{{- define "pg-operator.role" -}}
{{- $ := index . 0 -}}
{{- $name := include "pg-operator.fullname" $ -}}
{{- $namespace := index . 1 -}}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata:
  name: {{ $name }}
  namespace: {{ $namespace }}
  labels: {{- include "pg-operator.labels" $ | nindent 4 }}
rules:
{{ index . 2 }}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata:
  name: {{ $name }}
  namespace: {{ $namespace }}
  labels: {{- include "pg-operator.labels" $ | nindent 4 }}
roleRef:
  apiGroup: rbac.authorization.k8s.io
  kind: Role
  name: {{ $name }}
subjects:
  - kind: ServiceAccount
    name: {{ $name }}
    namespace: {{ $.Release.Namespace }}
{{ end -}}
