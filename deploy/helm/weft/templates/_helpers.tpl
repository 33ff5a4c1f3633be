{{- define "weft.labels" -}}
app.kubernetes.io/name: weft
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
app.kubernetes.io/part-of: weft
{{- end }}

{{- define "weft.selector" -}}
app.kubernetes.io/name: weft
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "weft.image" -}}
{{ .Values.image.repository }}{{ if .Values.image.digest }}@{{ .Values.image.digest }}{{ else }}:{{ .Values.image.tag | default .Chart.AppVersion }}{{ end }}
{{- end }}

{{- /* weftd's own keys: what the chart says, and over it what .Values.config says. */ -}}
{{- define "weft.config" -}}
{{- $own := dict
  "kubernetes" true
  "xds-address" .Values.istiod.address
  "cluster-id" .Values.istiod.clusterId
  "state-dir" .Values.stateDir
-}}
{{- if .Values.istiod.network }}{{ $_ := set $own "network" .Values.istiod.network }}{{ end }}
{{- if .Values.cni.enabled }}
{{- $_ := set $own "cni-bin-dir" .Values.cni.binDir }}
{{- $_ := set $own "cni-conf-dir" .Values.cni.confDir }}
{{- $_ := set $own "cni-fail-open" .Values.cni.failOpen }}
{{- end }}
{{- toYaml (mustMergeOverwrite $own .Values.config) }}
{{- end }}
