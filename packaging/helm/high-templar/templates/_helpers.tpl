{{- define "high-templar.name" -}}
{{- if contains .Chart.Name .Release.Name }}{{ .Release.Name }}{{ else }}{{ .Release.Name }}-{{ .Chart.Name }}{{ end }}
{{- end }}

{{- define "high-templar.selector" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "high-templar.labels" -}}
{{ include "high-templar.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version }}
{{- end }}

{{- define "high-templar.serviceAccount" -}}
{{- if .Values.serviceAccount.create }}{{ .Values.serviceAccount.name | default (include "high-templar.name" .) }}{{ else }}{{ .Values.serviceAccount.name | default "default" }}{{ end }}
{{- end }}

{{- /* The variable of a setting: limits.connections is HT_LIMITS__CONNECTIONS. */ -}}
{{- define "high-templar.variable" -}}
HT_{{ . | replace "." "__" | upper }}
{{- end }}

{{- /* What cannot run is refused when it is installed. */ -}}
{{- define "high-templar.check" -}}
{{- if and (not .Values.backend.url) (not .Values.toml) }}
{{- fail "set backend.url to the URL of your API, such as http://site:8000/api/ (or write a configuration into toml)" }}
{{- end }}
{{- if not .Values.secrets.existingSecret }}
{{- fail "set secrets.existingSecret to the name of a Secret with the key internal.api_key: kubectl create secret generic high-templar --from-literal=internal.api_key=$(openssl rand -hex 32)" }}
{{- end }}
{{- if not (has "internal.api_key" .Values.secrets.settings) }}
{{- fail "secrets.settings must list internal.api_key: the internal listener is reached by other pods" }}
{{- end }}
{{- if gt (mul 2 .Values.drain.period) (int64 .Values.drain.timeout) }}
{{- fail "drain.period may be at most half of drain.timeout" }}
{{- end }}
{{- $log := false }}
{{- range list "rabbitmq.url" "postgres.url" "nats.url" "redis.url" }}
{{- if or (hasKey $.Values.settings .) (has . $.Values.secrets.settings) }}{{ $log = true }}{{ end }}
{{- end }}
{{- if and (not $log) (not .Values.toml) (or (gt (int .Values.replicas) 1) .Values.autoscaling.enabled) }}
{{- fail "several nodes need a log that they share: set rabbitmq.url, postgres.url, nats.url or redis.url in settings or secrets.settings, or replicas to 1" }}
{{- end }}
{{- end }}
