// What every experiment shares. An experiment adds to it and sets the hidden fields (`::`) it wants otherwise.
{
  // Required: what is tagged, and where it is read from (upos.libsonnet, ner.libsonnet, or one of your own).
  task:: error 'set `task`, for instance  task:: import "upos.libsonnet"',

  // The languages trained on. Teachers have one, students have all.
  languages:: self.task.languages,

  // The objective of distillation, and the folder with a store named after each language; null without teachers.
  // Where languages have several teachers, or teachers have options: an object, as the callback's own `stores`.
  objective:: null,
  stores:: null,
  schedule:: { type: 'linear' },

  // How many sentences of each language are read for training, as { type: 'at_least', sentences: 1000 }: smaller languages are
  // repeated. Null for all sentences once.
  sampling:: null,

  // "learned" for a CRF, "none" for a softmax tagger.
  transitions:: 'learned',

  // Sizes of the words' vectors, of the characters' features and of each direction of the LSTM.
  word_size:: 48,
  character_size:: 32,
  hidden_size:: 48,
  // Vectors of a pretrained encoder that is not trained, beside these: its `type`, the `size` of a word's vector, a `cache`
  // if they are not to be computed anew in every epoch, the size of a `projection` that is learnt, which makes training
  // several times faster, and what else the encoder takes; for instance
  // { type: 'universal_sentence_encoder', cache: 'runs/vectors', size: 2560, projection: 96 }. Null for none.
  frozen_encoder:: null,
  dropout:: 0.3,
  epochs:: 12,
  batch_size:: 32,
  learning_rate:: 0.003,
  // How it changes while training, as { type: 'polynomial_decay' }: in a straight line to 0. Null for not at all.
  learning_rate_scheduler:: null,
  // The transition table has a learning rate of its own: it has few entries, and each is seen in every sentence.
  transition_learning_rate:: 0.01,
  seed:: 1,

  // The names of all hidden fields: a misspelt one would otherwise be a field that nobody reads.
  options:: [
    'batch_size', 'character_size', 'dropout', 'epochs', 'frozen_encoder', 'hidden_size', 'languages', 'learning_rate',
    'learning_rate_scheduler', 'objective', 'options', 'sampling', 'schedule', 'seed', 'stores', 'task', 'transition_learning_rate',
    'transitions', 'word_size',
  ],
  local hidden = std.setDiff(std.set(std.objectFieldsAll(self)), std.set(std.objectFields(self))),
  local unknown = std.setDiff(hidden, std.set(self.options)),
  assert unknown == [] :
         'there is no option %s; the options are %s' % [std.join(', ', unknown), std.join(', ', self.options)],

  local experiment = self,
  local by_language(split) = {
    [language]: experiment.task.file(language, split)
    for language in experiment.languages
  },
  local frozen = self.frozen_encoder,
  local projection = if frozen == null then null else std.get(frozen, 'projection'),
  local frozen_size = if frozen == null then 0 else if projection == null then frozen.size else projection,
  local embedded_size = self.word_size + self.character_size + frozen_size,

  random_seed: self.seed,
  numpy_seed: self.seed,
  pytorch_seed: self.seed,

  dataset_reader: self.task.reader {
    [if experiment.sampling != null then 'sampling']: experiment.sampling,
    token_indexers: {
      words: { type: 'single_id', lowercase_tokens: true, namespace: 'words' },
      characters: { type: 'characters', namespace: 'characters', min_padding_length: 3 },
      [if frozen != null then 'frozen']: {
        type: 'structkd_frozen_encoder',
        encoder: {
          [name]: frozen[name]
          for name in std.objectFields(frozen)
          if !std.member(['cache', 'projection', 'size'], name)
        },
        cache: std.get(frozen, 'cache'),
      },
    },
  },
  // Every process of a distributed training validates on everything: of unequal shares, AllenNLP would leave the rest out.
  // Sampling is for training: evaluation is on every sentence.
  validation_dataset_reader: self.dataset_reader { shard: false, sampling:: null },
  train_data_path: by_language('train'),
  validation_data_path: by_language('dev'),
  test_data_path: by_language('test'),
  evaluate_on_test: true,
  datasets_for_vocab_creation: ['train'],
  // All labels of the task, in training data or not: teachers and students must have the same.
  vocabulary: { min_count: { words: 2 }, tokens_to_add: { labels: experiment.task.labels } },

  model: {
    type: 'structkd_tagger',
    text_field_embedder: {
      token_embedders: {
        words: { type: 'embedding', embedding_dim: experiment.word_size, vocab_namespace: 'words' },
        characters: {
          type: 'character_encoding',
          embedding: { embedding_dim: 16, vocab_namespace: 'characters' },
          encoder: {
            type: 'cnn',
            embedding_dim: 16,
            num_filters: experiment.character_size / 2,
            ngram_filter_sizes: [2, 3],
          },
        },
        [if frozen != null then 'frozen']:
          if projection == null then { type: 'pass_through', hidden_dim: frozen.size }
          else { type: 'structkd_projection', input_size: frozen.size, output_size: projection },
      },
    },
    encoder: {
      type: 'lstm',
      bidirectional: true,
      input_size: embedded_size,
      hidden_size: experiment.hidden_size,
    },
    transitions: experiment.transitions,
    label_encoding: experiment.task.label_encoding,
    dropout: experiment.dropout,
    [if experiment.objective != null then 'objective']: experiment.objective,
  },

  data_loader: {
    batch_sampler: { type: 'bucket', batch_size: experiment.batch_size, sorting_keys: ['tokens'] },
  },
  validation_data_loader: { batch_size: 4 * experiment.batch_size },

  trainer: {
    num_epochs: experiment.epochs,
    validation_metric: experiment.task.validation_metric,
    grad_norm: 5.0,
    optimizer: {
      type: 'adam',
      lr: experiment.learning_rate,
      [if experiment.transitions == 'learned' then 'parameter_groups']: [
        [['^crf\\.'], { lr: experiment.transition_learning_rate }],
      ],
    },
    [if experiment.learning_rate_scheduler != null then 'learning_rate_scheduler']: experiment.learning_rate_scheduler,
    checkpointer: { keep_most_recent_by_count: 1 },
    callbacks: ['structkd_random_state'] + (
      if experiment.stores == null then [] else [{
        type: 'structkd_teacher',
        stores: if std.isObject(experiment.stores) then experiment.stores else {
          [language]: experiment.stores + '/' + language
          for language in experiment.languages
        },
        schedule: experiment.schedule,
      }]
    ) + ['structkd_summary'],
  },
}
