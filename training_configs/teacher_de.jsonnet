// The German teacher.
(import 'teacher.libsonnet') { language:: 'de' }
