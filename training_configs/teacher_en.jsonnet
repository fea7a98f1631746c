// The English teacher.
(import 'teacher.libsonnet') { language:: 'en' }
