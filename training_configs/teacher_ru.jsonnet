// The Russian teacher.
(import 'teacher.libsonnet') { language:: 'ru' }
