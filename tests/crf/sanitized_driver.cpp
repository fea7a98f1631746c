// Calls every function of the CPU kernels with batches of many shapes, to be run under sanitizers: see
// test_sanitizers.py, which compiles it.
//
//   sanitized_driver seed cases threads
//
// with the number of small batches, and with 1 where there are also batches large enough for several threads.
//
// Besides what sanitizers find, results must not depend on what nobody wrote: every batch is computed twice, with
// other garbage in the kernels' memory, in the results' memory and at masked words, and with another number of
// threads. Whatever differs in a bit has read something it must not read, or left something unwritten.

#include <atomic>
#include <cstddef>
#include <cstring>

#if defined(__SANITIZE_ADDRESS__)
#define ADDRESSES_CHECKED
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define ADDRESSES_CHECKED
#endif
#endif
#ifdef ADDRESSES_CHECKED
#include <sanitizer/asan_interface.h>
#else
#define ASAN_POISON_MEMORY_REGION(memory, size)
#define ASAN_UNPOISON_MEMORY_REGION(memory, size)
#endif
#if defined(__has_include)
#if __has_include(<valgrind/memcheck.h>)
#include <valgrind/memcheck.h>
#endif
#endif
#ifndef VALGRIND_MAKE_MEM_UNDEFINED
#define VALGRIND_MAKE_MEM_UNDEFINED(memory, size)
#endif

// That there is no memory is for the kernels to say.
extern "C" const char* __asan_default_options() { return "allocator_may_return_null=1"; }
extern "C" const char* __tsan_default_options() { return "allocator_may_return_null=1"; }

namespace {
std::atomic<int> kernel_garbage{0};
std::atomic<int> threads_seen{0};

// No order between threads may come from here: it would hide races from the thread sanitizer.
void count_this_thread() {
  thread_local bool counted = false;
  if (!counted) threads_seen.fetch_add(1, std::memory_order_relaxed);
  counted = true;
}
}  // namespace

#define STRUCTKD_ARENA_GAP 64
#define STRUCTKD_ARENA_CLEARED(memory, size) \
  do {                                       \
    count_this_thread();                     \
    ASAN_POISON_MEMORY_REGION(memory, size); \
  } while (0)
#define STRUCTKD_ARENA_TAKEN(piece, size)                                            \
  do {                                                                               \
    ASAN_UNPOISON_MEMORY_REGION(piece, size);                                        \
    std::memset(piece, kernel_garbage.load(std::memory_order_relaxed), size);        \
    (void)VALGRIND_MAKE_MEM_UNDEFINED(piece, size);                                  \
  } while (0)

#include "cpu_kernels.cpp"

#include <cstdio>
#include <limits>
#include <memory>
#include <random>
#include <string>
#include <utility>
#include <vector>

namespace {

using Random = std::mt19937;

int below(Random& random, int limit) { return static_cast<int>(random() % static_cast<unsigned>(limit)); }
bool chance(Random& random, double p) { return random() < p * 4294967296.0; }

[[noreturn]] void fail(const std::string& message) {
  std::fprintf(stderr, "%s\n", message.c_str());
  std::exit(1);
}

// An array of exactly its size, so that the sanitizer sees the first byte beyond; null where it is empty, as torch has
// it. One in two begins where no vector could be read whose alignment is more than a number's.
template <class T>
class Exact {
 public:
  explicit Exact(size_t size, bool odd = false)
      : size_(size), memory_(size ? static_cast<T*>(std::malloc((size + odd) * sizeof(T))) : nullptr, std::free),
        data_(size ? memory_.get() + odd : nullptr) {}
  T* data() const { return data_; }
  size_t size() const { return size_; }
  T& operator[](size_t i) { return data_[i]; }
  void fill_bytes(int byte) {
    if (size_) std::memset(data_, byte, size_ * sizeof(T));
  }

 private:
  size_t size_;
  std::unique_ptr<T, void (*)(void*)> memory_;
  T* data_;
};

struct Shape {
  int batch, words, labels;
  bool own_transitions, own_start, own_end;
};

// Potentials and a mask.
struct Batch {
  Shape shape;
  bool masked;
  Exact<uint8_t> mask;
  Exact<float> emissions, transitions, start, end;

  Batch(const Shape& s, bool with_mask, bool odd)
      : shape(s), masked(with_mask), mask(with_mask ? size_t(s.batch) * s.words : 0, odd),
        emissions(size_t(s.batch) * s.words * s.labels, odd),
        transitions(size_t(s.own_transitions ? s.batch : 1) * s.labels * s.labels, odd),
        start(size_t(s.own_start ? s.batch : 1) * s.labels, odd),
        end(size_t(s.own_end ? s.batch : 1) * s.labels, odd) {}

  Chains chains() const {
    const int64_t labels = shape.labels;
    return {shape.batch,
            shape.words,
            labels,
            emissions.data(),
            masked ? mask.data() : nullptr,
            transitions.data(),
            shape.own_transitions ? labels * labels : 0,
            start.data(),
            shape.own_start ? labels : 0,
            end.data(),
            shape.own_end ? labels : 0};
  }
};

void draw_mask(Random& random, Batch& batch) {
  if (!batch.masked) return;
  const int words = batch.shape.words, kind = below(random, 5);
  for (int b = 0; b < batch.shape.batch; ++b) {
    const int length = below(random, words + 1);
    for (int t = 0; t < words; ++t) {
      const bool word = kind == 0   ? true
                        : kind == 1 ? t < length
                        : kind == 2 ? t >= length
                        : kind == 3 ? chance(random, 0.7)
                                    : false;
      if (batch.mask.size()) batch.mask[size_t(b) * words + t] = word;
    }
  }
}

void draw(Random& random, Exact<float>& values, float deviation, double forbidden) {
  std::normal_distribution<float> normal;
  for (size_t i = 0; i < values.size(); ++i) {
    values[i] = deviation * normal(random);
    if (chance(random, forbidden)) values[i] = chance(random, 0.5) ? -std::numeric_limits<float>::infinity() : -1e30f;
  }
}

// Puts `garbage` where there is no word: rows of `columns` numbers for each (sentence, repetition, word).
template <class T>
void spoil(const Batch& batch, int repetitions, int columns, T garbage, Exact<T>& values) {
  if (!batch.masked) return;
  const Shape& s = batch.shape;
  for (int b = 0; b < s.batch; ++b)
    for (int r = 0; r < repetitions; ++r)
      for (int t = 0; t < s.words; ++t) {
        if (batch.mask.data()[size_t(b) * s.words + t]) continue;
        for (int j = 0; j < columns; ++j)
          values[((size_t(b) * repetitions + r) * s.words + t) * columns + j] = garbage;
      }
}

// What a call gave, without the rows of sentences that have to be redone elsewhere.
struct Result {
  std::string name, bytes;
};

struct Run {
  int threads;
  int garbage;  // a byte
  bool odd;
  std::vector<Result> results;
  int64_t redone = 0;

  template <class T>
  Exact<T> room(size_t size) const {
    Exact<T> made(size, odd);
    made.fill_bytes(garbage);
    if (size) (void)VALGRIND_MAKE_MEM_UNDEFINED(made.data(), size * sizeof(T));
    return made;
  }

  template <class T>
  void keep(const char* name, Exact<T>& values, int batch, const Exact<uint8_t>* failed) {
    std::string bytes;
    const size_t row = batch ? values.size() / batch : 0;
    for (int b = 0; b < batch; ++b) {
      const bool lost = failed && failed->data()[b];
      if (!lost && row) bytes.append(reinterpret_cast<const char*>(values.data() + b * row), row * sizeof(T));
    }
    results.push_back({name, bytes});
  }
  void returned(const char* name, int64_t value, const Exact<uint8_t>& failed) {
    if (value < 0) fail(std::string(name) + ": no memory");
    int64_t marked = 0;
    for (size_t b = 0; b < failed.size(); ++b) marked += failed.data()[b] != 0;
    if (marked != value) fail(std::string(name) + ": another number of sentences is marked than returned");
    redone += value;
    results.push_back({name, std::string(reinterpret_cast<const char*>(failed.data()), failed.size())});
  }
};

struct CountsRoom {
  Exact<float> emissions, transitions, start, end;
  CountsRoom(const Run& run, const Shape& s)
      : emissions(run.room<float>(size_t(s.batch) * s.words * s.labels)),
        transitions(run.room<float>(size_t(s.batch) * s.labels * s.labels)),
        start(run.room<float>(size_t(s.batch) * s.labels)), end(run.room<float>(size_t(s.batch) * s.labels)) {}
  Counts counts() const { return {emissions.data(), transitions.data(), start.data(), end.data()}; }
  void keep(const char* name, Run& run, const Shape& s, const Exact<uint8_t>* failed) {
    run.keep(name, emissions, s.batch, failed);
    run.keep(name, transitions, s.batch, failed);
    run.keep(name, start, s.batch, failed);
    run.keep(name, end, s.batch, failed);
  }
};

// Every function, on chains drawn from `seed`.
void call_all(unsigned seed, const Shape& s, Run& run) {
  Random random(seed);
  const float deviation = std::vector<float>{0.5f, 3.0f, 40.0f, 1000.0f}[below(random, 4)];
  const double forbidden = std::vector<double>{0.0, 0.0, 0.2, 1.0}[below(random, s.words > 20 ? 3 : 4)];
  const bool with_mask = chance(random, 0.7);
  const int where = below(random, 16);  // which potentials are forbidden
  const int m = 1 + below(random, 3), n = 1 + below(random, 3), k = 1 + below(random, s.words > 20 ? 3 : 12);
  Shape other_shape = s;
  if (chance(random, 0.2)) other_shape.own_transitions = !s.own_transitions;
  Batch batch(s, with_mask, run.odd), other(other_shape, with_mask, run.odd);
  draw_mask(random, batch);
  for (size_t i = 0; i < batch.mask.size(); ++i) other.mask[i] = batch.mask[i];
  for (Batch* one : {&batch, &other}) {
    draw(random, one->emissions, deviation, where & 1 ? forbidden : 0);
    draw(random, one->transitions, deviation, where & 2 ? forbidden : 0);
    draw(random, one->start, deviation, where & 4 ? forbidden : 0);
    draw(random, one->end, deviation, where & 8 ? forbidden : 0);
  }
  const size_t sentences = s.batch, places = sentences * s.words;
  Exact<int64_t> tags(places * m, run.odd);
  Exact<float> gradient(places * s.labels, run.odd), uniforms(places * n, run.odd);
  Exact<float> scale(sentences, run.odd), scales(sentences * m, run.odd);
  for (size_t i = 0; i < tags.size(); ++i) tags[i] = below(random, s.labels);
  draw(random, gradient, 1, 0);
  draw(random, scale, 1, 0);
  draw(random, scales, 1, 0);
  for (size_t i = 0; i < uniforms.size(); ++i) uniforms[i] = static_cast<float>(random() >> 8) / 16777216.0f;
  // NaN from bytes 255; a tag far outside.
  float number;
  std::memset(&number, run.garbage, sizeof number);
  const int64_t tag = run.garbage ? std::numeric_limits<int64_t>::min() : std::numeric_limits<int64_t>::max();
  spoil(batch, 1, s.labels, number, batch.emissions);
  spoil(batch, 1, s.labels, number, other.emissions);
  spoil(batch, 1, s.labels, number, gradient);
  spoil(batch, n, 1, number, uniforms);
  spoil(batch, m, 1, tag, tags);
  kernel_garbage.store(run.garbage, std::memory_order_relaxed);

  const Chains c = batch.chains(), d = other.chains();
  Exact<uint8_t> failed = run.room<uint8_t>(sentences);
  const Counts none = {nullptr, nullptr, nullptr, nullptr};

  const int64_t columns = s.labels;
  if (structkd_dishonest(&c)) fail("dishonest: honest potentials");
  if (structkd_tags_outside(c.mask, tags.data(), s.batch, m, s.words, s.labels)) fail("tags_outside: tags inside");
  if (!batch.masked && places) {
    Exact<float> bad(places * columns, run.odd);
    std::memcpy(bad.data(), c.emissions, places * columns * sizeof(float));
    bad[places * columns - 1] = std::numeric_limits<float>::quiet_NaN();
    Chains with_nan = c;
    with_nan.emissions = bad.data();
    if (structkd_dishonest(&with_nan) != 1) fail("dishonest: NaN not found");
    Exact<int64_t> outside(places, run.odd);
    outside.fill_bytes(0);
    outside[places - 1] = s.labels;
    if (!structkd_tags_outside(nullptr, outside.data(), s.batch, 1, s.words, s.labels)) fail("tags_outside: not found");
  }

  {
    Exact<float> log_z = run.room<float>(sentences);
    run.returned("log Z",
                 structkd_likelihood(&c, nullptr, log_z.data(), nullptr, &none, failed.data(), run.threads), failed);
    run.keep("log Z", log_z, s.batch, &failed);
  }
  {
    Exact<float> log_z = run.room<float>(sentences);
    CountsRoom room(run, s);
    const Counts counts = room.counts();
    run.returned("counts",
                 structkd_likelihood(&c, nullptr, log_z.data(), nullptr, &counts, failed.data(), run.threads), failed);
    run.keep("counts: log Z", log_z, s.batch, &failed);
    room.keep("counts", run, s, &failed);
    // The way back, for which somebody has redone the lost ones.
    for (int b = 0; b < s.batch; ++b) {
      if (!failed[b]) continue;
      for (auto* part : {&room.emissions, &room.transitions, &room.start, &room.end}) {
        const size_t row = part->size() / s.batch;
        if (row) std::memset(part->data() + b * row, 0, row * sizeof(float));
      }
    }
    Exact<float> e = run.room<float>(batch.emissions.size()), a = run.room<float>(batch.transitions.size());
    Exact<float> first = run.room<float>(batch.start.size()), last = run.room<float>(batch.end.size());
    const Counts to = {e.data(), a.data(), first.data(), last.data()};
    if (structkd_scaled(&c, &counts, scale.data(), &to)) fail("scaled: no memory");
    run.keep("scaled emissions", e, 1, nullptr);
    run.keep("scaled transitions", a, 1, nullptr);
    run.keep("scaled start", first, 1, nullptr);
    run.keep("scaled end", last, 1, nullptr);
  }
  {
    Exact<float> q = run.room<float>(places * s.labels);
    const Counts counts = {q.data(), nullptr, nullptr, nullptr};
    run.returned("marginals", structkd_likelihood(&c, nullptr, nullptr, nullptr, &counts, failed.data(), run.threads),
                 failed);
    run.keep("marginals", q, s.batch, &failed);
  }
  {
    Exact<int64_t> path(places, run.odd);
    for (int b = 0; b < s.batch; ++b)
      for (int t = 0; t < s.words; ++t) path[size_t(b) * s.words + t] = tags[size_t(b) * m * s.words + t];
    Exact<float> log_z = run.room<float>(sentences), log_p = run.room<float>(sentences);
    CountsRoom room(run, s);
    const Counts counts = room.counts();
    run.returned("log p",
                 structkd_likelihood(&c, path.data(), log_z.data(), log_p.data(), &counts, failed.data(), run.threads),
                 failed);
    run.keep("log p", log_p, s.batch, &failed);
    run.keep("log p: log Z", log_z, s.batch, &failed);
    room.keep("log p: counts", run, s, &failed);
  }
  {
    Exact<float> log_q = run.room<float>(places * s.labels);
    run.returned("log-marginals", structkd_log_marginals(&c, log_q.data(), failed.data(), run.threads), failed);
    run.keep("log-marginals", log_q, s.batch, &failed);
  }
  {
    CountsRoom room(run, s);
    const Counts counts = room.counts();
    run.returned("gradient of log-marginals",
                 structkd_log_marginals_gradient(&c, gradient.data(), &counts, failed.data(), run.threads), failed);
    room.keep("gradient of log-marginals", run, s, &failed);
  }
  for (int subtract_entropy = 0; subtract_entropy < 2; ++subtract_entropy) {
    Exact<float> value = run.room<float>(sentences);
    CountsRoom room(run, s);
    const Counts counts = room.counts();
    run.returned("divergence",
                 structkd_divergence(&c, &d, subtract_entropy, value.data(), &counts, failed.data(), run.threads),
                 failed);
    run.keep("divergence", value, s.batch, &failed);
    room.keep("divergence: counts", run, s, &failed);
  }
  {
    Exact<int64_t> drawn = run.room<int64_t>(places * n);
    run.returned("sample", structkd_sample(&c, uniforms.data(), n, drawn.data(), failed.data(), run.threads), failed);
    run.keep("sample", drawn, s.batch, &failed);
  }
  {
    Exact<int64_t> best = run.room<int64_t>(places);
    if (structkd_argmax(&c, best.data(), run.threads)) fail("argmax: no memory");
    run.keep("argmax", best, s.batch, nullptr);
  }
  {
    Exact<int64_t> best = run.room<int64_t>(places * k);
    Exact<float> scores = run.room<float>(sentences * k);
    if (structkd_k_best(&c, k, best.data(), scores.data(), run.threads)) fail("k best: no memory");
    run.keep("k best", best, s.batch, nullptr);
    run.keep("k best: scores", scores, s.batch, nullptr);
  }
  {
    Exact<float> scores = run.room<float>(sentences * m);
    if (structkd_score(&c, tags.data(), m, scores.data())) fail("score: no memory");
    run.keep("score", scores, s.batch, nullptr);
    CountsRoom room(run, s);
    const Counts counts = room.counts();
    if (structkd_score_gradient(&c, tags.data(), m, scales.data(), &counts)) fail("score gradient: no memory");
    room.keep("score gradient", run, s, nullptr);
  }
}

std::string described(const Shape& s) {
  char text[100];
  std::snprintf(text, sizeof text, "(B, T, L) = (%d, %d, %d), tables of each sentence's own: %d %d %d", s.batch,
                s.words, s.labels, s.own_transitions, s.own_start, s.own_end);
  return text;
}

// Twice, in ways that must not matter; how many sentences were to be redone elsewhere.
int64_t compare(unsigned seed, const Shape& s, int threads) {
  Run one = {1, 0xff, false, {}}, other = {threads, 0, true, {}};
  call_all(seed, s, one);
  call_all(seed, s, other);
  for (size_t i = 0; i < one.results.size(); ++i)
    if (one.results[i].bytes != other.results[i].bytes)
      fail(one.results[i].name + " of " + described(s) + ", seed " + std::to_string(seed) +
           ": depends on what nobody wrote, on masked words or on threads");
  return one.redone;
}

}  // namespace

int main(int count, char** arguments) {
  if (count != 4) fail("usage: sanitized_driver seed cases threads");
  const unsigned seed = static_cast<unsigned>(std::atoi(arguments[1]));
  const int cases = std::atoi(arguments[2]);
  int64_t redone = 0;
  Random random(seed);
  for (int i = 0; i < cases; ++i) {
    Shape s = {below(random, 41), below(random, 10), 1 + below(random, 21), false, false, false};
    // What random draws would seldom have.
    if (i % 10 == 0) s.batch = i % 20 ? 0 : 16;
    if (i % 10 == 1) s.words = i % 20 == 1 ? 0 : 1;
    if (i % 10 == 2) s.labels = i % 20 == 2 ? 1 : 16;
    s.own_transitions = chance(random, 0.4);
    s.own_start = chance(random, 0.4);
    s.own_end = chance(random, 0.4);
    redone += compare(random(), s, 3);
  }
  if (cases >= 50 && redone == 0) fail("no sentence was too much for float and double: what marks them was not run");

  // More than there is: said, not thrown or crashed.
  {
    const Batch small({3, 4, 5, false, false, false}, false, false);
    const Chains c = small.chains();
    std::memset(const_cast<float*>(c.emissions), 0, sizeof(float) * 60);
    std::memset(const_cast<float*>(c.transitions), 0, sizeof(float) * 25);
    if (structkd_k_best(&c, int64_t(1) << 40, nullptr, nullptr, 1) != -1) fail("k best: memory that is not there");
  }

  if (std::atoi(arguments[3])) {
    const int before = threads_seen;
    compare(seed + 1, {70, 80, 30, false, false, false}, 3);
    compare(seed + 2, {70, 80, 30, true, true, true}, 3);
    if (threads_seen - before < 10) fail("hardly a thread was started");
    // Callers at the same time, who share the kept memory.
    std::vector<std::thread> callers;
    for (unsigned i = 0; i < 3; ++i)
      callers.emplace_back([=] {
        Run run = {2, 0xff, false, {}};
        call_all(seed + 3 + i, {70, 60, 21, i == 1, false, false}, run);
      });
    for (auto& caller : callers) caller.join();
  }
  std::printf("%s: %d batches, %lld sentences to be redone, %d threads\n", structkd_variant(), cases,
              static_cast<long long>(redone), threads_seen.load());
  return 0;
}
