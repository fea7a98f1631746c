// The Spanish teacher.
(import 'teacher.libsonnet') { language:: 'es' }
