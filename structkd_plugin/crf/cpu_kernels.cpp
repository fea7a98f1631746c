// Linear-chain CRFs on the CPU, sentences side by side in the lanes of vectors.
//
// One sentence is a chain of steps that wait for each other; sixteen sentences of much the same length, one in each
// lane, fill the vector units at every step, for any number of labels. cpu_kernels.py calls what is at the end of this
// file through a plain C interface; docs/mathematics.md derives what is computed.
//
// Potentials are exponentiated (shifted so that the largest is 1), messages are normalised at every word, and every
// message of a label that can be reached has to be at least HELD: then nothing but what rounding loses anyway is lost.
// Sentences that fail this in float are redone in double; what fails there too is reported to the caller.
//
// The file includes itself once for each instruction set, and the machine's best is chosen when it runs. Vectors are
// the generic ones of GCC and Clang: 64 bytes, which the compiler splits where registers are smaller.

#ifndef STRUCTKD_VARIANT

#include <algorithm>
#include <atomic>
#include <cassert>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <limits>
#include <new>
#include <thread>
#include <type_traits>
#include <vector>

#ifndef STRUCTKD_SOURCE
#define STRUCTKD_SOURCE "unknown"
#endif

#define ALWAYS_INLINE inline __attribute__((always_inline))

namespace {

// Stands for minus infinity, as in reference.py: sums of thousands of it stay finite in float.
constexpr float FORBIDDEN = -1e30f;
constexpr float FORBIDDEN_BELOW = -5e29f;

}  // namespace

extern "C" {

// Of a caller: contiguous arrays, float unless said otherwise.
struct Chains {
  int64_t batch, words, labels;
  const float* emissions;      // (B, T, L)
  const uint8_t* mask;         // (B, T), or null where all are words
  const float* transitions;    // (L, L) or (B, L, L), [from, to]
  int64_t transitions_stride;  // 0, or L * L
  const float* start;          // (L,) or (B, L)
  int64_t start_stride;        // 0, or L
  const float* end;
  int64_t end_stride;
};

// How often each potential is used, sentence by sentence: a gradient. Null where it is not asked for.
struct Counts {
  float* emissions;    // (B, T, L)
  float* transitions;  // (B, L, L)
  float* start;        // (B, L)
  float* end;          // (B, L)
};

}  // extern "C"

namespace {

// ------------------------------------------------------------------ memory

// Memory is kept between calls: fresh pages cost more than the computation. Free buffers lie in slots that are taken
// and put back by one exchange, so that a process forked at any moment finds nothing locked.
struct Buffer {
  char* data = nullptr;
  size_t size = 0;
};
constexpr size_t KEPT_AT_MOST = size_t(64) << 20;  // bytes in a buffer
std::atomic<Buffer*> free_buffers[32];

Buffer* take_buffer(size_t size) {
  Buffer* buffer = nullptr;
  for (auto& slot : free_buffers)
    if ((buffer = slot.exchange(nullptr))) break;
  if (!buffer) buffer = new Buffer;
  if (buffer->size < size) {
    std::free(buffer->data);
    buffer->size = (size + 4095) / 4096 * 4096;
    buffer->data = static_cast<char*>(std::aligned_alloc(4096, buffer->size));
    if (!buffer->data) {
      delete buffer;
      throw std::bad_alloc();
    }
  }
  return buffer;
}

void give_back(Buffer* buffer) {
  if (buffer->size <= KEPT_AT_MOST)
    for (auto& slot : free_buffers) {
      Buffer* empty = nullptr;
      if (slot.compare_exchange_strong(empty, buffer)) return;
    }
  std::free(buffer->data);
  delete buffer;
}

// The driver of tests/crf/test_sanitizers.py looks on: ARENA_CLEARED(memory, size) says that there are no pieces now,
// ARENA_TAKEN(piece, size) that there is one, with ARENA_GAP bytes behind it that are nobody's.
#ifndef STRUCTKD_ARENA_GAP
#define STRUCTKD_ARENA_GAP 0
#define STRUCTKD_ARENA_CLEARED(memory, size)
#define STRUCTKD_ARENA_TAKEN(piece, size)
#endif

// Pieces of one buffer, each on a cache line of its own.
class Arena {
 public:
  explicit Arena(size_t bytes) : buffer_(take_buffer(bytes)), size_(bytes) { reset(); }
  ~Arena() { give_back(buffer_); }
  Arena(const Arena&) = delete;
  // Nobody has written to a piece; every operation's `bytes` says how much its pieces need.
  template <class T>
  T* take(size_t count) {
    T* piece = reinterpret_cast<T*>(buffer_->data + used_);
    used_ += bytes_for<T>(count);
    assert(used_ <= size_);
    STRUCTKD_ARENA_TAKEN(piece, count * sizeof(T));
    return piece;
  }
  template <class T>
  static size_t bytes_for(size_t count) {
    return (count * sizeof(T) + 63) / 64 * 64 + STRUCTKD_ARENA_GAP;
  }
  void reset() {
    used_ = 0;
    STRUCTKD_ARENA_CLEARED(buffer_->data, buffer_->size);
  }

 private:
  Buffer* buffer_;
  size_t size_, used_ = 0;
};

// ------------------------------------------------------------------ sentences

// Which positions of a sentence are words.
struct Sentence {
  int64_t index;  // in the batch
  int first;      // position of the first word
  int length;     // words
  bool gaps;      // whether something that is no word lies between two words
};

std::vector<Sentence> sentences_of(const Chains& c) {
  std::vector<Sentence> found(c.batch);
  for (int64_t b = 0; b < c.batch; ++b) {
    Sentence& s = found[b];
    s = {b, 0, static_cast<int>(c.words), false};
    if (!c.mask) continue;
    const uint8_t* row = c.mask + b * c.words;
    int first = 0, last = static_cast<int>(c.words);
    while (first < last && !row[first]) ++first;
    while (last > first && !row[last - 1]) --last;
    int count = 0;
    for (int t = first; t < last; ++t) count += row[t] != 0;
    s.first = first;
    s.length = count;
    s.gaps = count != last - first;
  }
  return found;
}

// The position of each word in the batch's arrays, in order.
template <class Visit>
ALWAYS_INLINE void for_words(const Chains& c, const Sentence& s, Visit visit) {
  const uint8_t* row = s.gaps ? c.mask + s.index * c.words : nullptr;
  int position = s.first;
  for (int t = 0; t < s.length; ++t, ++position) {
    if (row)
      while (!row[position]) ++position;
    visit(t, position);
  }
}

// ------------------------------------------------------------------ threads

int useful_threads(double multiply_adds, int64_t groups, int threads) {
  // Starting a thread costs about what a million multiply-adds in vectors cost.
  const double worth = multiply_adds / 2e6;
  return std::max(1, std::min({threads, static_cast<int>(std::min(worth, 1e6)), static_cast<int>(groups)}));
}

// work(arena, item) for each item; results must not depend on which thread does which.
template <class Work>
void in_parallel(int64_t items, int threads, size_t bytes, Work work) {
  std::atomic<int64_t> next{0};
  std::atomic<bool> no_memory{false};
  auto run = [&] {
    try {
      Arena arena(bytes);
      for (int64_t i; (i = next.fetch_add(1)) < items;) {
        arena.reset();
        work(arena, i);
      }
    } catch (const std::bad_alloc&) {
      no_memory = true;
    }
  };
  std::vector<std::thread> others;
  for (int i = 1; i < threads; ++i) {
    try {
      others.emplace_back(run);
    } catch (const std::exception&) {
      break;  // fewer threads do the same
    }
  }
  run();
  for (auto& other : others) other.join();
  if (no_memory) throw std::bad_alloc();
}

}  // namespace

// What every variant provides; the C interface says what it means.
struct Operations {
  const char* name;
  int64_t (*dishonest)(const float*, const uint8_t*, int64_t, int64_t);
  int64_t (*likelihood)(const Chains&, const int64_t*, float*, float*, const Counts&, uint8_t*, int);
  int64_t (*log_marginals)(const Chains&, float*, uint8_t*, int);
  int64_t (*log_marginals_gradient)(const Chains&, const float*, const Counts&, uint8_t*, int);
  int64_t (*divergence)(const Chains&, const Chains&, bool, float*, const Counts&, uint8_t*, int);
  int64_t (*sample)(const Chains&, const float*, int64_t, int64_t*, uint8_t*, int);
  int64_t (*argmax)(const Chains&, int64_t*, int);
  int64_t (*k_best)(const Chains&, int64_t, int64_t*, float*, int);
  int64_t (*score)(const Chains&, const int64_t*, int64_t, float*);
  int64_t (*score_gradient)(const Chains&, const int64_t*, int64_t, const float*, const Counts&);
  int64_t (*scaled)(const Chains&, const Counts&, const float*, const Counts&);
};

// ------------------------------------------------------------------ one variant for each instruction set

#define STRUCTKD_VARIANT
#if defined(__x86_64__) && defined(__GNUC__)
#define STRUCTKD_X86 1

#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx512f,avx512dq,avx512bw,avx512vl,fma"))), apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("avx512f,avx512dq,avx512bw,avx512vl,fma,prefer-vector-width=512")
#endif
#define REGISTERS 32
#define VARIANT_NAME "avx512"
namespace avx512 {
#include "cpu_kernels.cpp"
}
#undef VARIANT_NAME
#undef REGISTERS
#if defined(__clang__)
#pragma clang attribute pop
#pragma clang attribute push(__attribute__((target("avx2,fma"))), apply_to = function)
#else
#pragma GCC pop_options
#pragma GCC push_options
#pragma GCC target("avx2,fma")
#endif
#define REGISTERS 8
#define VARIANT_NAME "avx2"
namespace avx2 {
#include "cpu_kernels.cpp"
}
#undef VARIANT_NAME
#undef REGISTERS
#if defined(__clang__)
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif
#endif  // x86

#define REGISTERS 8
#define VARIANT_NAME "plain"
namespace plain {
#include "cpu_kernels.cpp"
}
#undef VARIANT_NAME
#undef REGISTERS

namespace {

// Whether the environment asks to do without an instruction set, as the tests do.
bool without(const char* name) {
  const char* unwanted = std::getenv("STRUCTKD_CPU_WITHOUT");
  return unwanted && std::strstr(unwanted, name);
}

const Operations& operations() {
#ifdef STRUCTKD_X86
  static const Operations& chosen = [&]() -> const Operations& {
    __builtin_cpu_init();
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512bw") &&
        __builtin_cpu_supports("avx512vl") && !without("avx512"))
      return avx512::OPERATIONS;
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && !without("avx2")) return avx2::OPERATIONS;
    return plain::OPERATIONS;
  }();
  return chosen;
#else
  return plain::OPERATIONS;
#endif
}

// Nothing may be thrown into the caller, which is not C++: −1 says that there was no memory.
template <class Work>
int64_t guarded(Work work) {
  try {
    return work();
  } catch (...) {
    return -1;
  }
}

}  // namespace

// ------------------------------------------------------------------ the C interface

extern "C" {

#define EXPORT __attribute__((visibility("default")))

// What this was compiled from.
EXPORT const char* structkd_source() { return STRUCTKD_SOURCE; }

// The instruction set in use.
EXPORT const char* structkd_variant() { return operations().name; }

// Which potentials are the first with NaN or +inf at a word: 1 emissions, 2 transitions, 3 start, 4 end; 0 if none are.
EXPORT int64_t structkd_dishonest(const Chains* c) {
  const auto has = operations().dishonest;
  const auto tables = [&](int64_t stride) { return stride ? c->batch : 1; };
  if (has(c->emissions, c->mask, c->batch * c->words, c->labels)) return 1;
  if (has(c->transitions, nullptr, tables(c->transitions_stride), c->labels * c->labels)) return 2;
  if (has(c->start, nullptr, tables(c->start_stride), c->labels)) return 3;
  if (has(c->end, nullptr, tables(c->end_stride), c->labels)) return 4;
  return 0;
}

// Whether any word has a tag outside [0, L) in `tags` (B, M, T).
EXPORT int64_t structkd_tags_outside(const uint8_t* mask, const int64_t* tags, int64_t batch, int64_t m, int64_t words,
                                     int64_t labels) {
  for (int64_t row = 0; row < batch * m; ++row) {
    const uint8_t* inside = mask ? mask + row / m * words : nullptr;
    const int64_t* path = tags + row * words;
    bool outside = false;
    for (int64_t t = 0; t < words; ++t)
      outside |= (uint64_t(path[t]) >= uint64_t(labels)) & (!inside || inside[t] != 0);
    if (outside) return 1;
  }
  return 0;
}

// The gradients of the potentials: of a scalar for each sentence that has the gradient `counts`, times `scale` (B,).
// Those of a table that sentences share are summed over sentences.
EXPORT int64_t structkd_scaled(const Chains* c, const Counts* counts, const float* scale, const Counts* to) {
  return guarded([&] { return operations().scaled(*c, *counts, scale, *to); });
}

// All that follow return the number of sentences that have to be redone elsewhere, marked in `failed` (B,); or −1
// where memory was lacking. What is null is not computed.

// log Z (B,); with `tags` (B, T) also log p(tags), (B,). `counts` are the gradient of log Z, or, with tags, of log p.
EXPORT int64_t structkd_likelihood(const Chains* c, const int64_t* tags, float* log_z, float* log_p,
                                   const Counts* counts, uint8_t* failed, int threads) {
  return guarded([&] { return operations().likelihood(*c, tags, log_z, log_p, *counts, failed, threads); });
}

// log q (B, T, L): −inf where forbidden, 0 where there is no word.
EXPORT int64_t structkd_log_marginals(const Chains* c, float* log_q, uint8_t* failed, int threads) {
  return guarded([&] { return operations().log_marginals(*c, log_q, failed, threads); });
}

// The product of `gradient` (B, T, L), with respect to log q, and the Jacobian.
EXPORT int64_t structkd_log_marginals_gradient(const Chains* c, const float* gradient, const Counts* counts,
                                               uint8_t* failed, int threads) {
  return guarded([&] { return operations().log_marginals_gradient(*c, gradient, *counts, failed, threads); });
}

// KL(teacher ‖ student), or the cross-entropy, (B,), and its gradient in the student's potentials.
EXPORT int64_t structkd_divergence(const Chains* teacher, const Chains* student, int subtract_entropy, float* value,
                                   const Counts* counts, uint8_t* failed, int threads) {
  return guarded(
      [&] { return operations().divergence(*teacher, *student, subtract_entropy, value, *counts, failed, threads); });
}

// `tags` (B, n, T) by inverting the cumulative distributions at `uniforms` (B, n, T).
EXPORT int64_t structkd_sample(const Chains* c, const float* uniforms, int64_t n, int64_t* tags, uint8_t* failed,
                               int threads) {
  return guarded([&] { return operations().sample(*c, uniforms, n, tags, failed, threads); });
}

// The tags (B, T) of largest score.
EXPORT int64_t structkd_argmax(const Chains* c, int64_t* tags, int threads) {
  return guarded([&] { return operations().argmax(*c, tags, threads); });
}

// The k labellings (B, K, T) of largest score (B, K).
EXPORT int64_t structkd_k_best(const Chains* c, int64_t k, int64_t* tags, float* scores, int threads) {
  return guarded([&] { return operations().k_best(*c, k, tags, scores, threads); });
}

// The following two mark no sentences: 0, or −1 where memory was lacking.

// Scores (B, M) of `tags` (B, M, T).
EXPORT int64_t structkd_score(const Chains* c, const int64_t* tags, int64_t m, float* scores) {
  return guarded([&] { return operations().score(*c, tags, m, scores); });
}

// Counts of `tags` (B, M, T), each labelling's times its `scale` (B, M).
EXPORT int64_t structkd_score_gradient(const Chains* c, const int64_t* tags, int64_t m, const float* scale,
                                       const Counts* counts) {
  return guarded([&] { return operations().score_gradient(*c, tags, m, scale, *counts); });
}

}  // extern "C"

#else  // STRUCTKD_VARIANT: what is compiled for each instruction set

// A message of a label that can be reached, made of messages that add up to 1 and of factors of at most 1.
template <class Real>
constexpr Real HELD = Real(1e-30);
template <>
constexpr double HELD<double> = 1e-280;

// ------------------------------------------------------------------ vectors

template <class Real>
struct Vectors;
template <>
struct Vectors<float> {
  typedef float V __attribute__((vector_size(64)));
  typedef int32_t M __attribute__((vector_size(64)));
  static constexpr int N = 16, MANTISSA = 23, BIAS = 127, EXP_TERMS = 7, LOG_TERMS = 5;
  static constexpr float SMALLEST_EXPONENT = -87.0f;
  static constexpr float LN2_HIGH = 0.693359375f, LN2_LOW = -2.12194440e-4f;
};
template <>
struct Vectors<double> {
  typedef double V __attribute__((vector_size(64)));
  typedef int64_t M __attribute__((vector_size(64)));
  static constexpr int N = 8, MANTISSA = 52, BIAS = 1023, EXP_TERMS = 13, LOG_TERMS = 11;
  static constexpr double SMALLEST_EXPONENT = -700.0;
  static constexpr double LN2_HIGH = 6.93147180369123816490e-01, LN2_LOW = 1.90821492927058770002e-10;
};

template <class Real>
using Vector = typename Vectors<Real>::V;
template <class Real>
using Mask = typename Vectors<Real>::M;

template <class Real>
ALWAYS_INLINE Vector<Real> all(Real x) {
  return x - Vector<Real>{};
}
template <class V>
ALWAYS_INLINE V larger(V a, V b) {
  return a > b ? a : b;
}
template <class V>
ALWAYS_INLINE V smaller(V a, V b) {
  return a < b ? a : b;
}
template <class M>
ALWAYS_INLINE bool any(M mask) {
  bool found = false;
  for (size_t i = 0; i < sizeof(M) / sizeof(mask[0]); ++i) found |= mask[i] != 0;
  return found;
}

// e^x for x <= 0: 0 where it would not be a normal number.
template <class Real>
ALWAYS_INLINE Vector<Real> exponential(Vector<Real> x) {
  using Traits = Vectors<Real>;
  using V = Vector<Real>;
  using M = Mask<Real>;
  const V bounded = larger(x, all<Real>(Traits::SMALLEST_EXPONENT));
  // x = n ln 2 + r with |r| <= ln 2 / 2
  const V scaled = bounded * Real(1.4426950408889634) - Real(0.5);
  const M n = __builtin_convertvector(scaled, M);  // toward 0, which rounds since nothing is above 0
  const V whole = __builtin_convertvector(n, V);
  const V r = (bounded - whole * Traits::LN2_HIGH) - whole * Traits::LN2_LOW;
  // Taylor's series, from its last term
  V sum = all<Real>(1);
  for (int term = Traits::EXP_TERMS; term >= 1; --term) sum = sum * (r * Real(1.0 / term)) + Real(1);
  const M power = (n + Traits::BIAS) << Traits::MANTISSA;
  V factor;
  std::memcpy(&factor, &power, sizeof factor);
  return x < Traits::SMALLEST_EXPONENT ? V{} : sum * factor;
}

// log x for normal x > 0; a large negative number for 0.
template <class Real>
ALWAYS_INLINE Vector<Real> logarithm(Vector<Real> x) {
  using Traits = Vectors<Real>;
  using V = Vector<Real>;
  using M = Mask<Real>;
  M bits;
  std::memcpy(&bits, &x, sizeof bits);
  // x = 2^n m with m between the square roots of 1/2 and 2
  const Real root = Real(0.70710678118654752440);
  typename std::remove_reference<decltype(bits[0])>::type root_bits;
  std::memcpy(&root_bits, &root, sizeof root);
  const M shifted = bits - root_bits;
  const M n = shifted >> Traits::MANTISSA;
  const M mantissa_bits = bits - (n << Traits::MANTISSA);
  V m;
  std::memcpy(&m, &mantissa_bits, sizeof m);
  // log m = 2 artanh((m − 1) / (m + 1))
  const V s = (m - Real(1)) / (m + Real(1));
  const V square = s * s;
  V sum = all<Real>(Real(1.0 / (2 * Traits::LOG_TERMS + 1)));
  for (int term = Traits::LOG_TERMS - 1; term >= 0; --term) sum = sum * square + Real(1.0 / (2 * term + 1));
  const V whole = __builtin_convertvector(n, V);
  const V result = whole * Traits::LN2_HIGH + (Real(2) * s * sum + whole * Traits::LN2_LOW);
  return x > Real(0) ? result : all<Real>(Real(FORBIDDEN));
}

// ------------------------------------------------------------------ between sentences and lanes

#if defined(__has_builtin)
#if __has_builtin(__builtin_shufflevector)
#define SHUFFLE_BY_CONSTANTS
#endif
#endif

// x[r] and x[r + H]: blocks of H lanes change places.
template <int H>
ALWAYS_INLINE void exchange(Vector<float>& a, Vector<float>& b) {
  using V = Vector<float>;
#ifdef SHUFFLE_BY_CONSTANTS
#define FIRST(k) (((k)&H) ? 16 + (k)-H : (k))
#define SECOND(k) (((k)&H) ? 16 + (k) : (k) + H)
#define ALL_16(f) f(0), f(1), f(2), f(3), f(4), f(5), f(6), f(7), f(8), f(9), f(10), f(11), f(12), f(13), f(14), f(15)
  const V first = __builtin_shufflevector(a, b, ALL_16(FIRST));
  const V second = __builtin_shufflevector(a, b, ALL_16(SECOND));
#undef FIRST
#undef SECOND
#undef ALL_16
#else
  Mask<float> to_first, to_second;
  for (int k = 0; k < 16; ++k) {
    to_first[k] = (k & H) ? 16 + k - H : k;
    to_second[k] = (k & H) ? 16 + k : k + H;
  }
  const V first = __builtin_shuffle(a, b, to_first);
  const V second = __builtin_shuffle(a, b, to_second);
#endif
  a = first;
  b = second;
}
#undef SHUFFLE_BY_CONSTANTS

template <int H>
ALWAYS_INLINE void exchange_all(Vector<float>* x) {
  for (int r = 0; r < 16; ++r)
    if (!(r & H)) exchange<H>(x[r], x[r + H]);
}

ALWAYS_INLINE void transpose(Vector<float>* x) {
  exchange_all<8>(x);
  exchange_all<4>(x);
  exchange_all<2>(x);
  exchange_all<1>(x);
}

// `size[l]` numbers from rows[l] into lane l of to[0], to[1], ...: `longest` of them, 0 beyond the lane's own. `to` has
// room up to the next multiple of the lanes.
inline void into_lanes(const float* const* rows, const int64_t* size, int64_t longest, Vector<float>* to) {
  using V = Vector<float>;
  for (int64_t k = 0; k < longest; k += 16) {
    V block[16];
    for (int lane = 0; lane < 16; ++lane) {
      const int64_t left = size[lane] - k;
      if (left >= 16) {
        std::memcpy(&block[lane], rows[lane] + k, sizeof(V));
      } else {
        block[lane] = V{};
        if (left > 0) std::memcpy(&block[lane], rows[lane] + k, left * sizeof(float));
      }
    }
    transpose(block);
    std::memcpy(to + k, block, sizeof block);
  }
}

inline void into_lanes(const float* const* rows, const int64_t* size, int64_t longest, Vector<double>* to) {
  for (int64_t k = 0; k < longest; ++k)
    for (int lane = 0; lane < 8; ++lane) to[k][lane] = k < size[lane] ? rows[lane][k] : 0.0;
}

// The way back: only each lane's own numbers are written, and nothing where rows[l] is null.
inline void out_of_lanes(const Vector<float>* from, float* const* rows, const int64_t* size, int64_t longest) {
  using V = Vector<float>;
  for (int64_t k = 0; k < longest; k += 16) {
    V block[16];
    std::memcpy(block, from + k, sizeof block);
    transpose(block);
    for (int lane = 0; lane < 16; ++lane) {
      const int64_t left = rows[lane] ? size[lane] - k : 0;
      if (left >= 16)
        std::memcpy(rows[lane] + k, &block[lane], sizeof(V));
      else if (left > 0)
        std::memcpy(rows[lane] + k, &block[lane], left * sizeof(float));
    }
  }
}

inline void out_of_lanes(const Vector<double>* from, float* const* rows, const int64_t* size, int64_t longest) {
  for (int64_t k = 0; k < longest; ++k)
    for (int lane = 0; lane < 8; ++lane)
      if (rows[lane] && k < size[lane]) rows[lane][k] = static_cast<float>(from[k][lane]);
}

// Sentences that are computed together, longest first. Lanes without one have length 0.
template <class Real>
struct Group {
  static constexpr int N = Vectors<Real>::N;
  const Chains& chains;
  const Sentence* sentences;
  int count;     // sentences
  int longest;   // words
  int shortest;  // words; 0 where a lane is empty
  Vector<Real> lengths;

  Group(const Chains& c, const Sentence* first, int n) : chains(c), sentences(first), count(n) {
    longest = first[0].length;
    shortest = n < N ? 0 : first[n - 1].length;
    for (int lane = 0; lane < N; ++lane) lengths[lane] = Real(length(lane));
  }
  int length(int lane) const { return lane < count ? sentences[lane].length : 0; }
  // Lanes that have a word t.
  ALWAYS_INLINE Mask<Real> inside(int t) const { return lengths > Real(t); }

  // An array of the batch, (B, T, L), into (longest, L). `spare` has room for N sentences.
  void read(const float* values, Vector<Real>* to, float* spare) const {
    const int64_t labels = chains.labels;
    const float* rows[N];
    int64_t size[N];
    for (int lane = 0; lane < N; ++lane) {
      size[lane] = length(lane) * labels;
      rows[lane] = nullptr;
      if (lane >= count) continue;
      const Sentence& s = sentences[lane];
      const float* row = values + s.index * chains.words * labels;
      rows[lane] = row + s.first * labels;
      if (!s.gaps) continue;
      float* words = spare + lane * chains.words * labels;
      for_words(chains, s, [&](int t, int position) {
        std::memcpy(words + t * labels, row + position * labels, labels * sizeof(float));
      });
      rows[lane] = words;
    }
    into_lanes(rows, size, longest * labels, to);
  }

  // The way back, with 0 where there is no word. Lanes in `skip` are left alone.
  void write(const Vector<Real>* from, float* values, float* spare, const bool* skip) const {
    const int64_t labels = chains.labels;
    float* rows[N];
    int64_t size[N];
    for (int lane = 0; lane < N; ++lane) {
      size[lane] = length(lane) * labels;
      rows[lane] = nullptr;
      if (lane >= count || skip[lane]) continue;
      const Sentence& s = sentences[lane];
      float* row = values + s.index * chains.words * labels;
      if (s.gaps) {
        std::memset(row, 0, chains.words * labels * sizeof(float));
        rows[lane] = spare + lane * chains.words * labels;
      } else {
        std::memset(row, 0, s.first * labels * sizeof(float));
        const int64_t last = s.first + s.length;
        std::memset(row + last * labels, 0, (chains.words - last) * labels * sizeof(float));
        rows[lane] = row + s.first * labels;
      }
    }
    out_of_lanes(from, rows, size, longest * labels);
    for (int lane = 0; lane < count; ++lane) {
      const Sentence& s = sentences[lane];
      if (!rows[lane] || !s.gaps) continue;
      float* row = values + s.index * chains.words * labels;
      for_words(chains, s, [&](int t, int position) {
        std::memcpy(row + position * labels, rows[lane] + t * labels, labels * sizeof(float));
      });
    }
  }

  // A table of `size` numbers for each sentence, (B, size).
  void write_table(const Vector<Real>* from, float* values, int64_t size, const bool* skip) const {
    float* rows[N];
    int64_t sizes[N];
    for (int lane = 0; lane < N; ++lane) {
      sizes[lane] = size;
      rows[lane] = lane < count && !skip[lane] ? values + sentences[lane].index * size : nullptr;
    }
    out_of_lanes(from, rows, sizes, size);
  }

  // A table of the batch, (size,) or (B, size), into lanes; what is forbidden as FORBIDDEN.
  void read_table(const float* values, int64_t stride, int64_t size, Vector<Real>* to) const {
    if (stride == 0) {
      for (int64_t k = 0; k < size; ++k) to[k] = all<Real>(std::max(values[k], FORBIDDEN));
      return;
    }
    const float* rows[N];
    int64_t sizes[N];
    for (int lane = 0; lane < N; ++lane) {
      rows[lane] = lane < count ? values + sentences[lane].index * stride : nullptr;
      sizes[lane] = lane < count ? size : 0;
    }
    into_lanes(rows, sizes, size, to);
    for (int64_t k = 0; k < size; ++k) to[k] = larger(to[k], all<Real>(Real(FORBIDDEN)));
  }
};

// Room for n numbers a lane, and for what into_lanes writes and out_of_lanes reads beyond.
inline int64_t padded(int64_t n) { return (n + 15) / 16 * 16; }

// ------------------------------------------------------------------ products with the table

// Splits `size` into pieces of at most `most` that differ by at most 1: piece(first, width).
template <class Piece>
ALWAYS_INLINE void pieces(int size, int most, Piece piece) {
  const int count = (size + most - 1) / most;
  int first = 0;
  for (int i = 0; i < count; ++i) {
    const int width = size / count + (i < size % count);
    piece(first, width);
    first += width;
  }
}

// Doubles are for the few sentences that floats cannot hold: less code for them.
template <class Real>
constexpr int WIDEST = sizeof(Real) == 8 ? 2 : REGISTERS >= 32 ? 12 : 6;
template <class Real>
constexpr int TILE = sizeof(Real) == 8 || REGISTERS < 32 ? 2 : 4;

// Σ_i in_i table(i, j) for W columns from j; table(i, j) = table[i * row + j * column].
template <int W, class V, class Entry, class Emit>
ALWAYS_INLINE void product_piece(const V* in, const Entry* table, int64_t row, int64_t column, int labels, int j,
                                 Emit emit) {
  V sum[W];
  const Entry* p = table + j * column;
  for (int k = 0; k < W; ++k) sum[k] = in[0] * p[k * column];
  for (int i = 1; i < labels; ++i) {
    p += row;
    const V x = in[i];
    for (int k = 0; k < W; ++k) sum[k] += x * p[k * column];
  }
  for (int k = 0; k < W; ++k) emit(j + k, sum[k]);
}

#define BY_WIDTH(CASE)                                                                                        \
  CASE(1) CASE(2) CASE(3) CASE(4) CASE(5) CASE(6) CASE(7) CASE(8) CASE(9) CASE(10) CASE(11) CASE(12)

// emit(j, Σ_i in_i table(i, j)) for every j. An entry of the table is a number, or a vector of one for each lane.
template <class Real, class V, class Entry, class Emit>
ALWAYS_INLINE void product(const V* in, const Entry* table, int64_t row, int64_t column, int labels, Emit emit) {
  constexpr int widest = WIDEST<Real>;
  pieces(labels, widest, [&](int j, int width) __attribute__((always_inline)) {
    switch (width) {
#define CASE(W)                                                                                         \
  case W:                                                                                               \
    if constexpr (W <= widest) product_piece<W>(in, table, row, column, labels, j, emit); \
    break;
      BY_WIDTH(CASE)
#undef CASE
    }
  });
}

// out_j = Σ_i in_i table(i, j)
template <class Real, class V, class Entry>
__attribute__((noinline)) void multiply(const V* in, const Entry* table, int64_t row, int64_t column, int labels,
                                        V* out) {
  product<Real>(in, table, row, column, labels, [&](int j, V sum) __attribute__((always_inline)) { out[j] = sum; });
}

// ------------------------------------------------------------------ tables

// exp(a − its largest), and where a allows; of a table that all sentences share, or of each lane's own.
template <class Real, bool Shared>
struct Table {
  using V = Vector<Real>;
  using Entry = typename std::conditional<Shared, Real, V>::type;
  Entry* logs = nullptr;     // (L, L), a − shift; FORBIDDEN where forbidden
  Entry* weights = nullptr;  // (L, L)
  Entry* allowed = nullptr;  // (L, L), 1 or 0
  V shift{};
  bool forbids = false;

  static size_t bytes(int labels) { return 3 * Arena::bytes_for<Entry>(padded(int64_t(labels) * labels)); }

  // From logs, which hold the potentials.
  void exponentiate(int64_t size);
};

template <class Real, bool Shared>
void Table<Real, Shared>::exponentiate(int64_t size) {
  using M = Mask<Real>;
  V* lane_logs = reinterpret_cast<V*>(logs);
  V* lane_weights = reinterpret_cast<V*>(weights);
  V* lane_allowed = reinterpret_cast<V*>(allowed);
  const V floor = all<Real>(Real(FORBIDDEN_BELOW));
  if (Shared) {
    const Real* numbers = reinterpret_cast<const Real*>(logs);
    Real largest = Real(FORBIDDEN), smallest = Real(0);
    for (int64_t k = 0; k < size; ++k) {
      largest = std::max(largest, numbers[k]);
      smallest = std::min(smallest, numbers[k]);
    }
    shift = all<Real>(largest);
    forbids = smallest < FORBIDDEN_BELOW;
  } else {
    V largest = lane_logs[0], smallest = lane_logs[0];
    for (int64_t k = 1; k < size; ++k) {
      largest = larger(largest, lane_logs[k]);
      smallest = smaller(smallest, lane_logs[k]);
    }
    shift = largest;
    forbids = any(smallest < floor);
  }
  const int64_t vectors = Shared ? padded(size) / Vectors<Real>::N : size;
  for (int64_t k = 0; k < vectors; ++k) {
    const M barred = lane_logs[k] < floor;
    const V log = lane_logs[k] - shift;
    lane_logs[k] = barred ? all<Real>(Real(FORBIDDEN)) : log;
    lane_weights[k] = barred ? V{} : exponential<Real>(log);
    lane_allowed[k] = barred ? V{} : all<Real>(1);
  }
}

template <class Real>
Table<Real, true> shared_table(const Chains& c, Arena& arena) {
  const int64_t size = c.labels * c.labels, room = padded(size);
  Table<Real, true> table;
  table.logs = arena.take<Real>(room);
  table.weights = arena.take<Real>(room);
  table.allowed = arena.take<Real>(room);
  for (int64_t k = 0; k < room; ++k) table.logs[k] = k < size ? std::max(c.transitions[k], FORBIDDEN) : FORBIDDEN;
  table.exponentiate(size);
  return table;
}

template <class Real>
Table<Real, false> lane_table(const Group<Real>& group, Arena& arena) {
  const Chains& c = group.chains;
  const int64_t size = c.labels * c.labels, room = padded(size);
  Table<Real, false> table;
  table.logs = arena.take<Vector<Real>>(room);
  table.weights = arena.take<Vector<Real>>(room);
  table.allowed = arena.take<Vector<Real>>(room);
  group.read_table(c.transitions, c.transitions_stride, size, table.logs);
  table.exponentiate(size);
  return table;
}

// ------------------------------------------------------------------ messages

// The forward and backward sweep over a group.
template <class Real, bool Shared>
struct Sweep {
  using V = Vector<Real>;
  using M = Mask<Real>;

  const Group<Real>& group;
  const Table<Real, Shared>& table;
  const int labels, words;

  V* logs;    // (T, L): emissions less the word's largest; FORBIDDEN where forbidden. The same memory as `right`
              // unless it is kept.
  V* right;   // (T, L): exp(logs), and after the backward sweep that times β
  V* alpha;   // (T, L), sum 1
  V* q;       // (T, L): marginals; 0 beyond the sentence
  V* totals;  // (T): what α_t was divided by
  V* tops;    // (T): the word's largest emission, FORBIDDEN where all are
  V *start, *end, *start_logs, *end_logs;  // (L), less start_top or end_top, the largest of each
  V *beta, *zero;                          // (L): the backward message at hand, and 0
  V *reached = nullptr, *leading = nullptr;  // (T, L): 0 where a message can be, 1 where none can come or go
  int reached_same, leading_same;            // beyond, and before, which nothing changes any more
  V start_top, end_top;
  V reduced;   // log Z less tops and shifts
  V log_z;     // 0 without words, −inf where nothing is allowed
  M possible;  // a word, and an allowed labelling
  M held;      // whether nothing was lost

  // Of T = `words` at most.
  static size_t bytes(int words, int labels, bool keep_logs) {
    const size_t array = Arena::bytes_for<V>(padded(int64_t(words) * labels));
    return array * (5 + keep_logs) + 2 * Arena::bytes_for<V>(words) + 6 * Arena::bytes_for<V>(padded(labels));
  }

  Sweep(const Group<Real>& g, const Table<Real, Shared>& t, Arena& arena, float* spare, bool keep_logs)
      : group(g), table(t), labels(static_cast<int>(g.chains.labels)), words(g.longest) {
    const int64_t size = padded(int64_t(words) * labels);
    right = arena.take<V>(size);
    alpha = arena.take<V>(size);
    q = arena.take<V>(size);
    logs = keep_logs ? arena.take<V>(size) : right;
    totals = arena.take<V>(words);
    tops = arena.take<V>(words);
    for (V** row : {&start, &end, &start_logs, &end_logs, &beta, &zero}) *row = arena.take<V>(padded(labels));
    const Chains& c = group.chains;
    held = M{} == M{};
    start_top = read_edge(c.start, c.start_stride, start_logs, start);
    end_top = read_edge(c.end, c.end_stride, end_logs, end);
    group.read(c.emissions, logs, spare);
    const bool forbids = reduce_emissions();
    for (int j = 0; j < labels; ++j) zero[j] = V{};
    possible = group.lengths > Real(0);
    const V floor = all<Real>(Real(FORBIDDEN_BELOW));
    bool edge_forbids = false;
    for (int j = 0; j < labels; ++j) edge_forbids |= any(smaller(start_logs[j], end_logs[j]) < floor);
    if (forbids || edge_forbids || table.forbids) {
      reached = arena.take<V>(size);
      leading = arena.take<V>(size);
      follow(forbids);
    }
  }

  ALWAYS_INLINE const V* unreached(int t) const {
    return reached ? reached + int64_t(std::min(t, reached_same)) * labels : zero;
  }
  ALWAYS_INLINE const V* leadless(int t) const {
    return leading ? leading + int64_t(std::max(t, leading_same)) * labels : zero;
  }

  // Start or end potentials: their logs less the largest, and their exponentials.
  V read_edge(const float* values, int64_t stride, V* log_row, V* row) {
    group.read_table(values, stride, labels, log_row);
    V top = log_row[0];
    for (int j = 1; j < labels; ++j) top = larger(top, log_row[j]);
    for (int j = 0; j < labels; ++j) {
      const M barred = log_row[j] < Real(FORBIDDEN_BELOW);
      row[j] = barred ? V{} : exponential<Real>(log_row[j] - top);
      log_row[j] = barred ? all<Real>(Real(FORBIDDEN)) : log_row[j] - top;
    }
    return top;
  }

  // Takes the largest out of every word. Whether an emission is forbidden.
  bool reduce_emissions() {
    V lowest{};
    for (int t = 0; t < words; ++t) {
      V* row = logs + int64_t(t) * labels;
      V top = row[0], bottom = row[0];
      for (int j = 1; j < labels; ++j) {
        top = larger(top, row[j]);
        bottom = smaller(bottom, row[j]);
      }
      top = larger(top, all<Real>(Real(FORBIDDEN)));
      lowest = smaller(lowest, bottom);
      tops[t] = top;
      for (int j = 0; j < labels; ++j) row[j] -= top;
    }
    if (!any(lowest < Real(FORBIDDEN_BELOW))) return false;
    for (int64_t k = 0; k < int64_t(words) * labels; ++k) {
      // Where all labels of a word are forbidden their largest was taken out: the word's top tells.
      const M barred = (logs[k] < Real(FORBIDDEN_BELOW)) | (tops[k / labels] < Real(FORBIDDEN_BELOW));
      logs[k] = barred ? all<Real>(Real(FORBIDDEN)) : logs[k];
    }
    return true;
  }

  // Follows what is allowed through the sentences, from both sides.
  void follow(bool emissions_forbid) {
    const V one = all<Real>(1);
    const Real floor = Real(FORBIDDEN_BELOW);
    for (int j = 0; j < labels; ++j)
      reached[j] = (start_logs[j] < floor) | (logs[j] < floor) ? one : V{};
    reached_same = words - 1;
    V* from = beta;  // not in use yet
    for (int t = 1; t < words; ++t) {
      const V *before = reached + int64_t(t - 1) * labels, *row = logs + int64_t(t) * labels;
      V* now = reached + int64_t(t) * labels;
      const M inside = group.inside(t);
      for (int i = 0; i < labels; ++i) from[i] = one - before[i];
      multiply<Real>(from, table.allowed, labels, 1, labels, now);
      for (int j = 0; j < labels; ++j)
        now[j] = inside ? ((now[j] > Real(0)) & (row[j] > floor) ? V{} : one) : before[j];
      if (!emissions_forbid && t < group.shortest && same(before, now)) {
        reached_same = t;
        break;
      }
    }
    leading_same = 0;
    V* last = leading + int64_t(words - 1) * labels;
    for (int i = 0; i < labels; ++i) last[i] = end_logs[i] < floor ? one : V{};
    for (int t = words - 2; t >= 0; --t) {
      const V *after = leading + int64_t(t + 1) * labels, *row = logs + int64_t(t + 1) * labels;
      V* now = leading + int64_t(t) * labels;
      const M inside = group.inside(t + 1);
      for (int j = 0; j < labels; ++j) from[j] = row[j] > floor ? one - after[j] : V{};
      multiply<Real>(from, table.allowed, 1, labels, labels, now);
      for (int i = 0; i < labels; ++i) {
        const V ended = end_logs[i] < floor ? one : V{};
        now[i] = inside ? (now[i] > Real(0) ? V{} : one) : ended;
      }
      if (!emissions_forbid && t + 1 < group.shortest && same(after, now)) {
        leading_same = t;
        break;
      }
    }
    for (int lane = 0; lane < Vectors<Real>::N; ++lane) {
      const int length = group.length(lane);
      bool ends = false;
      if (length > 0) {
        const V* row = unreached(length - 1);
        for (int j = 0; j < labels; ++j) ends |= row[j][lane] == 0 && end_logs[j][lane] > floor;
      }
      possible[lane] = ends ? -1 : 0;
    }
  }

  bool same(const V* a, const V* b) const {
    M different{};
    for (int j = 0; j < labels; ++j) different |= a[j] != b[j];
    return !any(different);
  }

  // Of the sum of what is scaled by it. The inverse of a smaller sum may be infinite, and 0 times it NaN.
  static ALWAYS_INLINE V inverse(V sum) {
    return sum >= std::numeric_limits<Real>::min() ? Real(1) / sum : V{};
  }

  void forward() {
    typedef double Exact __attribute__((vector_size(Vectors<Real>::N * sizeof(double))));
    Exact sum_of_logs{}, sum_of_tops{};
    V least = all<Real>(1);
    const V one = all<Real>(1);
    for (int t = 0; t < words; ++t) {
      V *row = right + int64_t(t) * labels, *now = alpha + int64_t(t) * labels;
      const V *log_row = logs + int64_t(t) * labels, *no = unreached(t);
      const bool ragged = t >= group.shortest;
      const M inside = group.inside(t);
      V total{}, lowest = one;
      for (int j = 0; j < labels; ++j) row[j] = exponential<Real>(log_row[j]);
      auto emit = [&](int j, V sum) __attribute__((always_inline)) {
        const V value = sum * row[j];
        now[j] = value;
        total += value;
        lowest = smaller(lowest, value + no[j]);
      };
      if (t == 0)
        for (int j = 0; j < labels; ++j) emit(j, start[j]);
      else
        product<Real>(now - labels, table.weights, labels, 1, labels, emit);
      if (ragged) {
        lowest = inside ? lowest : one;
        total = inside ? total : one;
      }
      least = smaller(least, lowest);
      totals[t] = total;
      const V scale = inverse(total);
      if (ragged && t > 0) {
        // Beyond the sentence the last word's message stays.
        for (int j = 0; j < labels; ++j) now[j] = inside ? now[j] * scale : now[j - labels];
      } else {
        for (int j = 0; j < labels; ++j) now[j] *= scale;
      }
      const V log = logarithm<Real>(total > Real(0) ? total : one);
      sum_of_logs += __builtin_convertvector(log, Exact);
      const V top = inside ? tops[t] : V{};
      sum_of_tops += __builtin_convertvector(top, Exact);
    }
    const V* last = alpha + int64_t(words - 1) * labels;
    V ending{};
    for (int j = 0; j < labels; ++j) ending += last[j] * end[j];
    least = possible ? smaller(least, ending) : least;
    held &= (least >= HELD<Real>) | ~(group.lengths > Real(0));
    const V log = logarithm<Real>(possible ? ending : one);
    const Exact small = sum_of_logs + __builtin_convertvector(log, Exact);
    reduced = __builtin_convertvector(small, V);
    const Exact shifts = __builtin_convertvector(table.shift, Exact) *
                         __builtin_convertvector(larger(group.lengths - Real(1), V{}), Exact);
    const Exact whole = small + sum_of_tops + shifts + __builtin_convertvector(start_top, Exact) +
                        __builtin_convertvector(end_top, Exact);
    log_z = __builtin_convertvector(whole, V);
    log_z = possible ? log_z : all<Real>(-std::numeric_limits<Real>::infinity());
    log_z = group.lengths > Real(0) ? log_z : V{};
  }

  // β, marginals and what the edges are made of; after `forward`. With `edges`, α_t becomes the left factor of the
  // edge from t to t + 1: q_t(i, j) = α_t(i) P(i, j) right_{t+1}(j).
  // each(t, β_t) sees the normalised messages of every word, last word first.
  template <class Each>
  ALWAYS_INLINE void backward(bool edges, Each each) {
    const V one = all<Real>(1);
    V least = one;
    for (int j = 0; j < labels; ++j) beta[j] = end[j];
    V edge_scale{};
    for (int t = words - 1; t >= 0; --t) {
      V *row = right + int64_t(t) * labels, *now = alpha + int64_t(t) * labels, *marginal = q + int64_t(t) * labels;
      const M inside = group.inside(t) & possible;
      V sum{};
      for (int j = 0; j < labels; ++j) {
        const V product = now[j] * beta[j];
        marginal[j] = product;
        sum += product;
      }
      each(t, beta);
      V scale = inverse(sum);
      scale = inside ? scale : V{};
      for (int j = 0; j < labels; ++j) marginal[j] *= scale;
      for (int j = 0; j < labels; ++j) row[j] *= beta[j];
      if (edges)
        for (int j = 0; j < labels; ++j) now[j] *= edge_scale;
      const V both = totals[t] * sum;
      least = inside ? smaller(least, both) : least;
      edge_scale = inverse(both);
      edge_scale = inside ? edge_scale : V{};
      if (t == 0) break;
      const V* no = leadless(t - 1);
      V total{}, lowest = one;
      product<Real>(row, table.weights, 1, labels, labels, [&](int i, V value) __attribute__((always_inline)) {
        beta[i] = value;
        total += value;
        lowest = smaller(lowest, value + no[i]);
      });
      const M counted = group.inside(t);
      const V down = inverse(total);
      if (t >= group.shortest) {
        least = counted ? smaller(least, lowest) : least;
        for (int i = 0; i < labels; ++i) beta[i] = counted ? beta[i] * down : end[i];
      } else {
        least = smaller(least, lowest);
        for (int i = 0; i < labels; ++i) beta[i] *= down;
      }
    }
    // Of an impossible sentence everything is known.
    held &= (least >= HELD<Real>) | ~possible;
  }

  void backward(bool edges) {
    backward(edges, [](int, const V*) {});
  }

  // Σ_t left_t(i) right_{t+1}(j), (L, L), times P unless told not to.
  void edge_sums(const V* left, const V* to_the_right, V* sums, bool times_table = true) const;
};

template <int A, int B, class V>
ALWAYS_INLINE void tile(const V* left, const V* right, int steps, int labels, V* to) {
  V sum[A][B];
  for (int a = 0; a < A; ++a)
    for (int b = 0; b < B; ++b) sum[a][b] = V{};
  for (int t = 0; t < steps; ++t) {
    V r[B];
    for (int b = 0; b < B; ++b) r[b] = right[b];
    for (int a = 0; a < A; ++a) {
      const V l = left[a];
      for (int b = 0; b < B; ++b) sum[a][b] += l * r[b];
    }
    left += labels;
    right += labels;
  }
  for (int a = 0; a < A; ++a)
    for (int b = 0; b < B; ++b) to[int64_t(a) * labels + b] = sum[a][b];
}

template <int MOST, class V>
void tile_of(int a, int b, const V* left, const V* right, int steps, int labels, V* to) {
  switch (a * 8 + b) {
#define CASE(A, B)                                                                                  \
  case A * 8 + B:                                                                                   \
    if constexpr (A <= MOST && B <= MOST) tile<A, B>(left, right, steps, labels, to);                \
    break;
#define ROW(A) CASE(A, 1) CASE(A, 2) CASE(A, 3) CASE(A, 4)
    ROW(1) ROW(2) ROW(3) ROW(4)
#undef ROW
#undef CASE
  }
}

template <class Real, bool Shared>
void Sweep<Real, Shared>::edge_sums(const V* left, const V* to_the_right, V* sums, bool times_table) const {
  constexpr int most = TILE<Real>;
  pieces(labels, most, [&](int i, int a) {
    pieces(labels, most, [&](int j, int b) {
      tile_of<most>(a, b, left + i, to_the_right + labels + j, words - 1, labels, sums + int64_t(i) * labels + j);
    });
  });
  if (times_table)
    for (int64_t k = 0; k < int64_t(labels) * labels; ++k) sums[k] *= table.weights[k];
}

// ------------------------------------------------------------------ running an operation

// Sentences with words, longest first; ties in order.
inline std::vector<Sentence> longest_first(const std::vector<Sentence>& sentences) {
  std::vector<Sentence> sorted;
  sorted.reserve(sentences.size());
  for (const Sentence& s : sentences)
    if (s.length > 0) sorted.push_back(s);
  std::stable_sort(sorted.begin(), sorted.end(),
                   [](const Sentence& a, const Sentence& b) { return a.length > b.length; });
  return sorted;
}

inline double steps_of(const std::vector<Sentence>& sentences) {
  double steps = 0;
  for (const Sentence& s : sentences) steps += s.length;
  return steps;
}

// Operation: what is done with a group.
//   double COST                                multiply-adds for each word and entry of the table, about
//   bool shares_table()                        whether all sentences have the same
//   template <class Real> size_t shared_bytes(), Tables shared_tables(Arena&)
//                                              what is made of it once; empty where each lane has its own
//   template <class Real> size_t bytes(int words)
//                                              of the arena of a group whose longest sentence has so many words
//   template <class Real> void run(const Group<Real>&, const Tables&, Arena&, bool* lost)
// `lost` says of each lane whether it has to be redone; nothing was written for it then.
template <class Real, class Operation>
void run_as(const Operation& op, const Chains& c, const std::vector<Sentence>& sentences, uint8_t* failed,
            int threads) {
  constexpr int N = Vectors<Real>::N;
  if (sentences.empty()) return;
  const int64_t groups = (static_cast<int64_t>(sentences.size()) + N - 1) / N;
  const bool shared = op.shares_table();
  Arena table_arena(shared ? op.template shared_bytes<Real>() : 64);
  const auto tables = op.template shared_tables<Real>(table_arena);
  const int useful = useful_threads(steps_of(sentences) * c.labels * c.labels * op.COST, groups, threads);
  in_parallel(groups, useful, op.template bytes<Real>(sentences[0].length), [&](Arena& arena, int64_t g) {
    const int count = static_cast<int>(std::min<int64_t>(N, sentences.size() - g * N));
    const Group<Real> group(c, sentences.data() + g * N, count);
    bool lost[N] = {};
    op.template run<Real>(group, tables, arena, lost);
    for (int lane = 0; lane < count; ++lane) failed[group.sentences[lane].index] = lost[lane];
  });
}

template <class Operation>
int64_t run(const Operation& op, const Chains& c, const std::vector<Sentence>& all_sentences, uint8_t* failed,
            int threads) {
  const std::vector<Sentence> sentences = longest_first(all_sentences);
  run_as<float>(op, c, sentences, failed, threads);
  std::vector<Sentence> again;
  for (const Sentence& s : sentences)
    if (failed[s.index]) again.push_back(s);
  if (again.empty()) return 0;
  run_as<double>(op, c, again, failed, threads);
  int64_t left = 0;
  for (const Sentence& s : again) left += failed[s.index];
  return left;
}

// What operations on one chain share: a table for all, or one for each lane.
struct OneChain {
  const Chains& c;
  explicit OneChain(const Chains& chains) : c(chains) {}
  bool shares_table() const { return c.transitions_stride == 0; }
  template <class Real>
  size_t shared_bytes() const {
    return Table<Real, true>::bytes(static_cast<int>(c.labels));
  }
  template <class Real>
  Table<Real, true> shared_tables(Arena& arena) const {
    return shares_table() ? shared_table<Real>(c, arena) : Table<Real, true>{};
  }
  size_t spare_bytes() const { return Arena::bytes_for<float>(16 * c.words * c.labels); }
  template <class Real>
  size_t sweep_bytes(int words, bool keep_logs) const {
    const int labels = static_cast<int>(c.labels);
    return Sweep<Real, true>::bytes(words, labels, keep_logs) + (shares_table() ? 0 : Table<Real, false>::bytes(labels));
  }
  template <class Real>
  size_t square_bytes() const {
    return Arena::bytes_for<Vector<Real>>(padded(c.labels * c.labels));
  }
  // body(sweep) with the messages' front end set up.
  template <class Real, class Body>
  ALWAYS_INLINE void with_sweep(const Group<Real>& group, const Table<Real, true>& table, Arena& arena, bool keep_logs,
                                Body body) const {
    float* spare = arena.take<float>(16 * c.words * c.labels);
    if (shares_table()) {
      Sweep<Real, true> sweep(group, table, arena, spare, keep_logs);
      body(sweep, spare);
    } else {
      const Table<Real, false> own = lane_table(group, arena);
      Sweep<Real, false> sweep(group, own, arena, spare, keep_logs);
      body(sweep, spare);
    }
  }
};

template <class Real>
void first_and_last(const Group<Real>& group, const float* emissions, const Counts& counts, const bool* lost) {
  const Chains& c = group.chains;
  const size_t row = c.labels * sizeof(float);
  for (int lane = 0; lane < group.count; ++lane) {
    if (lost[lane]) continue;
    const Sentence& s = group.sentences[lane];
    int last = s.first;
    for_words(c, s, [&](int, int position) { last = position; });
    const float* words = emissions + s.index * c.words * c.labels;
    if (counts.start) std::memcpy(counts.start + s.index * c.labels, words + s.first * c.labels, row);
    if (counts.end) std::memcpy(counts.end + s.index * c.labels, words + last * c.labels, row);
  }
}

template <class Real>
void lost_lanes(const Group<Real>& group, Mask<Real> held, bool* lost) {
  for (int lane = 0; lane < group.count; ++lane) lost[lane] = held[lane] == 0;
}

// A sentence's own rows of every array, as 0.
inline void clear(const Chains& c, int64_t b, const Counts& counts) {
  if (counts.emissions) std::memset(counts.emissions + b * c.words * c.labels, 0, c.words * c.labels * sizeof(float));
  if (counts.transitions)
    std::memset(counts.transitions + b * c.labels * c.labels, 0, c.labels * c.labels * sizeof(float));
  if (counts.start) std::memset(counts.start + b * c.labels, 0, c.labels * sizeof(float));
  if (counts.end) std::memset(counts.end + b * c.labels, 0, c.labels * sizeof(float));
}

inline void clear_empty(const Chains& c, const std::vector<Sentence>& sentences, const Counts& counts,
                        uint8_t* failed) {
  for (const Sentence& s : sentences)
    if (s.length == 0) {
      failed[s.index] = 0;
      clear(c, s.index, counts);
    }
}

// ------------------------------------------------------------------ likelihood and marginals

inline float path_score(const Chains& c, const Sentence& s, const int64_t* tags) {
  const int64_t labels = c.labels;
  const float* e = c.emissions + s.index * c.words * labels;
  const float* a = c.transitions + s.index * c.transitions_stride;
  double sum = 0;
  bool forbidden = false;
  int64_t before = -1;
  auto add = [&](float x) {
    forbidden |= x < FORBIDDEN_BELOW;
    sum += x;
  };
  for_words(c, s, [&](int t, int position) {
    const int64_t tag = tags[position];
    add(e[position * labels + tag]);
    add(t == 0 ? c.start[s.index * c.start_stride + tag] : a[before * labels + tag]);
    before = tag;
  });
  if (s.length > 0) add(c.end[s.index * c.end_stride + before]);
  return forbidden ? -std::numeric_limits<float>::infinity() : static_cast<float>(sum);
}

inline void add_path(const Chains& c, const Sentence& s, const int64_t* tags, float scale, const Counts& counts) {
  const int64_t labels = c.labels;
  float* e = counts.emissions + s.index * c.words * labels;
  float* a = counts.transitions + s.index * labels * labels;
  int64_t before = -1;
  for_words(c, s, [&](int t, int position) {
    const int64_t tag = tags[position];
    e[position * labels + tag] += scale;
    (t == 0 ? counts.start[s.index * labels + tag] : a[before * labels + tag]) += scale;
    before = tag;
  });
  if (s.length > 0) counts.end[s.index * labels + before] += scale;
}

struct Likelihood : OneChain {
  static constexpr double COST = 3;
  const int64_t* tags;
  float* log_z;
  Counts counts;

  Likelihood(const Chains& chains, const int64_t* t, float* z, const Counts& n)
      : OneChain(chains), tags(t), log_z(z), counts(n) {}

  template <class Real>
  size_t bytes(int words) const {
    return spare_bytes() + sweep_bytes<Real>(words, false) + square_bytes<Real>();
  }

  template <class Real>
  void run(const Group<Real>& group, const Table<Real, true>& table, Arena& arena, bool* lost) const {
    with_sweep<Real>(group, table, arena, false, [&](auto& sweep, float* spare) {
      using V = Vector<Real>;
      sweep.forward();
      if (counts.emissions) sweep.backward(counts.transitions != nullptr);
      lost_lanes<Real>(group, sweep.held, lost);
      for (int lane = 0; lane < group.count; ++lane)
        if (!lost[lane] && log_z) log_z[group.sentences[lane].index] = static_cast<float>(sweep.log_z[lane]);
      if (!counts.emissions) return;
      if (tags)
        for (int64_t k = 0; k < int64_t(sweep.words) * sweep.labels; ++k) sweep.q[k] = -sweep.q[k];
      group.write(sweep.q, counts.emissions, spare, lost);
      if (!counts.transitions) return;
      V* sums = arena.take<V>(padded(c.labels * c.labels));
      sweep.edge_sums(sweep.alpha, sweep.right, sums);
      if (tags)
        for (int64_t k = 0; k < c.labels * c.labels; ++k) sums[k] = -sums[k];
      group.write_table(sums, counts.transitions, c.labels * c.labels, lost);
      first_and_last(group, counts.emissions, counts, lost);
    });
  }
};

inline int64_t likelihood(const Chains& c, const int64_t* tags, float* log_z, float* log_p, const Counts& counts,
                          uint8_t* failed, int threads) {
  const std::vector<Sentence> sentences = sentences_of(c);
  clear_empty(c, sentences, counts, failed);
  for (const Sentence& s : sentences)
    if (s.length == 0 && log_z) log_z[s.index] = 0;
  const int64_t left = run(Likelihood(c, tags, log_z, counts), c, sentences, failed, threads);
  // Not `tags`, which are null where there is no word at all.
  if (!log_p) return left;
  for (const Sentence& s : sentences) {
    if (failed[s.index]) continue;
    const int64_t* path = tags + s.index * c.words;
    const float score = path_score(c, s, path);
    // Where the score is minus infinity log Z may be too.
    log_p[s.index] = std::isinf(score) ? score : score - log_z[s.index];
    if (!counts.emissions) continue;
    if (std::isinf(score))
      clear(c, s.index, counts);
    else
      add_path(c, s, path, 1.0f, counts);
  }
  return left;
}

inline void scale_table(const float* from, const float* scale, int64_t batch, int64_t size, bool shared, float* to) {
  if (shared) std::memset(to, 0, size * sizeof(float));
  for (int64_t b = 0; b < batch; ++b) {
    const float factor = scale[b];
    const float* row = from + b * size;
    float* out = shared ? to : to + b * size;
    if (shared)
      for (int64_t k = 0; k < size; ++k) out[k] += factor * row[k];
    else
      for (int64_t k = 0; k < size; ++k) out[k] = factor * row[k];
  }
}

inline int64_t scaled(const Chains& c, const Counts& counts, const float* scale, const Counts& to) {
  scale_table(counts.emissions, scale, c.batch, c.words * c.labels, false, to.emissions);
  scale_table(counts.transitions, scale, c.batch, c.labels * c.labels, c.transitions_stride == 0, to.transitions);
  scale_table(counts.start, scale, c.batch, c.labels, c.start_stride == 0, to.start);
  scale_table(counts.end, scale, c.batch, c.labels, c.end_stride == 0, to.end);
  return 0;
}

// ------------------------------------------------------------------ log-marginals

struct LogMarginals : OneChain {
  static constexpr double COST = 2;
  float* log_q;
  LogMarginals(const Chains& chains, float* out) : OneChain(chains), log_q(out) {}

  template <class Real>
  size_t bytes(int words) const {
    return spare_bytes() + sweep_bytes<Real>(words, false);
  }

  template <class Real>
  void run(const Group<Real>& group, const Table<Real, true>& table, Arena& arena, bool* lost) const {
    with_sweep<Real>(group, table, arena, false, [&](auto& sweep, float* spare) {
      using V = Vector<Real>;
      sweep.forward();
      const int labels = sweep.labels;
      const V nothing = all<Real>(-std::numeric_limits<Real>::infinity());
      // A product of two messages may be too small where neither is; their logarithms are not.
      sweep.backward(false, [&](int t, const V* beta) {
        V* row = sweep.q + int64_t(t) * labels;
        const V* message = sweep.alpha + int64_t(t) * labels;
        V sum{};
        for (int j = 0; j < labels; ++j) sum += row[j];
        const V log_sum = logarithm<Real>(sum > Real(0) ? sum : all<Real>(1));
        // α is not used again: it makes room for the result.
        V* to = sweep.alpha + int64_t(t) * labels;
        for (int j = 0; j < labels; ++j) {
          const V x = message[j], y = beta[j];
          const V log = logarithm<Real>(x) + logarithm<Real>(y) - log_sum;
          to[j] = (x > Real(0)) & (y > Real(0)) & sweep.possible ? log : nothing;
        }
      });
      lost_lanes<Real>(group, sweep.held, lost);
      group.write(sweep.alpha, log_q, spare, lost);
    });
  }
};

inline int64_t log_marginals(const Chains& c, float* log_q, uint8_t* failed, int threads) {
  const std::vector<Sentence> sentences = sentences_of(c);
  clear_empty(c, sentences, {log_q, nullptr, nullptr, nullptr}, failed);
  return run(LogMarginals(c, log_q), c, sentences, failed, threads);
}

// With weights g on the log-marginals, G(y) = Σ_t g_t(y_t) / q_t(y_t), the gradient of Σ g · log q is the covariance of
// the potentials' counts with G; conditional expectations of G are two linear recursions along the chain.
struct LogMarginalsGradient : OneChain {
  static constexpr double COST = 6;
  const float* gradient;
  Counts counts;
  LogMarginalsGradient(const Chains& chains, const float* g, const Counts& n)
      : OneChain(chains), gradient(g), counts(n) {}

  template <class Real>
  size_t bytes(int words) const {
    const size_t array = Arena::bytes_for<Vector<Real>>(padded(int64_t(words) * c.labels));
    return spare_bytes() + sweep_bytes<Real>(words, false) + 5 * array + 2 * square_bytes<Real>() +
           Arena::bytes_for<Vector<Real>>(padded(c.labels));
  }

  template <class Real>
  void run(const Group<Real>& group, const Table<Real, true>& table, Arena& arena, bool* lost) const {
    with_sweep<Real>(group, table, arena, false, [&](auto& sweep, float* spare) {
      using V = Vector<Real>;
      using M = Mask<Real>;
      const int labels = sweep.labels, words = sweep.words;
      const int64_t size = padded(int64_t(words) * labels);
      V *gain = arena.take<V>(size), *before = arena.take<V>(size), *after = arena.take<V>(size);
      V *spread = arena.take<V>(size), *message = arena.take<V>(size);
      V* row = arena.take<V>(padded(labels));
      sweep.forward();
      std::memcpy(message, sweep.alpha, int64_t(words) * labels * sizeof(V));
      sweep.backward(true);
      group.read(gradient, gain, spare);
      // g / q, with every word's mean taken out, which changes no covariance and keeps partial sums small.
      for (int t = 0; t < words; ++t) {
        const int64_t at = int64_t(t) * labels;
        const M inside = group.inside(t) & sweep.possible;
        const V *no_left = sweep.unreached(t), *no_right = sweep.leadless(t);
        V sum{}, least = all<Real>(1);
        for (int j = 0; j < labels; ++j) {
          const V probability = sweep.q[at + j], g = gain[at + j];
          const M counts_here = inside & (no_left[j] + no_right[j] == Real(0));
          least = counts_here ? smaller(least, probability) : least;
          sum += counts_here ? g : V{};
          gain[at + j] = counts_here & (probability > Real(0)) ? g / probability : V{};
        }
        for (int j = 0; j < labels; ++j) gain[at + j] = inside ? gain[at + j] - sum : V{};
        sweep.held &= least >= HELD<Real>;
      }
      // E[the part of G up to word t | y_t = j], where p(y_{t-1} = i | y_t = j, words up to t) ∝ α_{t-1}(i) P(i, j)
      for (int j = 0; j < labels; ++j) before[j] = gain[j];
      for (int t = 1; t < words; ++t) {
        const int64_t at = int64_t(t) * labels, last = at - labels;
        const M inside = group.inside(t);
        V* sums = after + last;  // not in use yet
        for (int i = 0; i < labels; ++i) row[i] = message[last + i] * before[last + i];
        multiply<Real>(message + last, sweep.table.weights, labels, 1, labels, sums);
        multiply<Real>(row, sweep.table.weights, labels, 1, labels, before + at);
        for (int j = 0; j < labels; ++j) {
          const V carried = sums[j] > Real(0) ? before[at + j] / sums[j] : V{};
          before[at + j] = inside ? gain[at + j] + carried : before[last + j];
        }
      }
      // E[the part of G after word t | y_t = i]
      for (int i = 0; i < labels; ++i) after[int64_t(words - 1) * labels + i] = V{};
      for (int t = words - 2; t >= 0; --t) {
        const int64_t at = int64_t(t) * labels, next = at + labels;
        const M inside = group.inside(t + 1);
        const V* factor = sweep.right + next;
        V* sums = spread + at;  // not in use yet
        for (int j = 0; j < labels; ++j) row[j] = factor[j] * (gain[next + j] + after[next + j]);
        multiply<Real>(factor, sweep.table.weights, 1, labels, labels, sums);
        multiply<Real>(row, sweep.table.weights, 1, labels, labels, after + at);
        for (int i = 0; i < labels; ++i) {
          const V carried = sums[i] > Real(0) ? after[at + i] / sums[i] : V{};
          after[at + i] = inside ? carried : V{};
        }
      }
      lost_lanes<Real>(group, sweep.held, lost);
      // Edges: Σ_t q_t(i, j) (before_t(i) + gain_{t+1}(j) + after_{t+1}(j)), as two sums of products.
      V *sums = arena.take<V>(padded(c.labels * c.labels)), *more = arena.take<V>(padded(c.labels * c.labels));
      for (int64_t k = 0; k < int64_t(words) * labels; ++k) message[k] = sweep.alpha[k] * before[k];
      for (int64_t k = 0; k < int64_t(words) * labels; ++k) spread[k] = sweep.right[k] * (gain[k] + after[k]);
      sweep.edge_sums(message, sweep.right, sums);
      sweep.edge_sums(sweep.alpha, spread, more);
      for (int64_t k = 0; k < c.labels * c.labels; ++k) sums[k] += more[k];
      group.write_table(sums, counts.transitions, c.labels * c.labels, lost);
      for (int64_t k = 0; k < int64_t(words) * labels; ++k) sweep.q[k] *= before[k] + after[k];
      group.write(sweep.q, counts.emissions, spare, lost);
      first_and_last(group, counts.emissions, counts, lost);
    });
  }
};

inline int64_t log_marginals_gradient(const Chains& c, const float* gradient, const Counts& counts, uint8_t* failed,
                                      int threads) {
  const std::vector<Sentence> sentences = sentences_of(c);
  clear_empty(c, sentences, counts, failed);
  return run(LogMarginalsGradient(c, gradient, counts), c, sentences, failed, threads);
}

// ------------------------------------------------------------------ divergence

template <class Real>
struct TwoTables {
  Table<Real, true> teacher, student;
};

// KL = Σ q (e − e') + Σ q(i, j) (a − a') − (log Z − log Z'), with every largest potential taken out of all of it: what
// is left is small, and 0 exactly where the two are equal.
struct Divergence {
  static constexpr double COST = 6;
  const Chains &teacher, &student;
  const bool subtract_entropy;
  float* value;
  Counts counts;

  // One code for both: where one of the chains has tables of each sentence's own, so has the other.
  bool shares_table() const { return teacher.transitions_stride == 0 && student.transitions_stride == 0; }
  template <class Real>
  size_t shared_bytes() const {
    return 2 * Table<Real, true>::bytes(static_cast<int>(teacher.labels));
  }
  template <class Real>
  TwoTables<Real> shared_tables(Arena& arena) const {
    if (!shares_table()) return {};
    return {shared_table<Real>(teacher, arena), shared_table<Real>(student, arena)};
  }
  template <class Real>
  size_t bytes(int words) const {
    const int labels = static_cast<int>(teacher.labels);
    return Arena::bytes_for<float>(16 * teacher.words * labels) + 2 * Sweep<Real, true>::bytes(words, labels, true) +
           (shares_table() ? 0 : 2 * Table<Real, false>::bytes(labels)) +
           2 * Arena::bytes_for<Vector<Real>>(padded(int64_t(labels) * labels));
  }

  template <class Real>
  void run(const Group<Real>& group, const TwoTables<Real>& tables, Arena& arena, bool* lost) const {
    float* spare = arena.take<float>(16 * teacher.words * teacher.labels);
    // The mask is the teacher's and the student's: sentences are the same.
    const Group<Real> students(student, group.sentences, group.count);
    if (shares_table()) {
      pair<Real, true>(group, students, tables.teacher, tables.student, arena, spare, lost);
    } else {
      const Table<Real, false> mine = lane_table(group, arena), theirs = lane_table(students, arena);
      pair<Real, false>(group, students, mine, theirs, arena, spare, lost);
    }
  }

  template <class Real, bool Shared>
  void pair(const Group<Real>& group, const Group<Real>& students, const Table<Real, Shared>& teacher_table,
            const Table<Real, Shared>& student_table, Arena& arena, float* spare, bool* lost) const {
    using V = Vector<Real>;
    using M = Mask<Real>;
    typedef double Exact __attribute__((vector_size(Vectors<Real>::N * sizeof(double))));
    Sweep<Real, Shared> p(group, teacher_table, arena, spare, true), s(students, student_table, arena, spare, true);
    const int labels = p.labels, words = p.words;
    const int64_t square = int64_t(labels) * labels;
    p.forward();
    s.forward();
    p.backward(true);
    s.backward(true);
    V *expected = arena.take<V>(padded(square)), *predicted = arena.take<V>(padded(square));
    p.edge_sums(p.alpha, p.right, expected);
    s.edge_sums(s.alpha, s.right, predicted);

    const V own = all<Real>(subtract_entropy ? 1 : 0);
    const Real floor = Real(FORBIDDEN_BELOW);
    M impossible{};
    // weight · (own · teacher's − student's), where 0 times minus infinity is 0.
    auto term = [&](V weight, V mine, V theirs) __attribute__((always_inline)) {
      const M used = weight > Real(0);
      impossible |= used & (theirs < floor);
      const V difference = own * mine - theirs;
      return used ? weight * difference : V{};
    };
    Exact sum{};
    for (int t = 0; t < words; ++t) {
      const int64_t at = int64_t(t) * labels;
      V word{};
      for (int j = 0; j < labels; ++j) word += term(p.q[at + j], p.logs[at + j], s.logs[at + j]);
      if (t == 0)
        for (int j = 0; j < labels; ++j) word += term(p.q[j], p.start_logs[j], s.start_logs[j]);
      const M last = group.lengths == Real(t + 1);
      if (any(last))
        for (int j = 0; j < labels; ++j) {
          const V weight = last ? p.q[at + j] : V{};
          word += term(weight, p.end_logs[j], s.end_logs[j]);
        }
      sum += __builtin_convertvector(word, Exact);
    }
    for (int i = 0; i < labels; ++i) {
      V row{};
      for (int j = 0; j < labels; ++j) {
        const int64_t k = int64_t(i) * labels + j;
        row += term(expected[k], V{} + teacher_table.logs[k], V{} + student_table.logs[k]);
      }
      sum += __builtin_convertvector(row, Exact);
    }
    const V normalisers = own * p.reduced - s.reduced;
    sum -= __builtin_convertvector(normalisers, Exact);
    V result = __builtin_convertvector(sum, V);
    result = larger(result, V{});  // neither is below 0, but its rounding may be
    const M forbidden = impossible | ~s.possible;
    result = forbidden ? all<Real>(std::numeric_limits<Real>::infinity()) : result;
    result = p.possible ? result : V{};
    lost_lanes<Real>(group, p.held & s.held, lost);
    for (int lane = 0; lane < group.count; ++lane)
      if (!lost[lane]) value[group.sentences[lane].index] = static_cast<float>(result[lane]);
    if (!counts.emissions) return;
    for (int64_t k = 0; k < int64_t(words) * labels; ++k) s.q[k] -= p.q[k];
    for (int64_t k = 0; k < square; ++k) predicted[k] -= expected[k];
    group.write(s.q, counts.emissions, spare, lost);
    group.write_table(predicted, counts.transitions, square, lost);
    first_and_last(group, counts.emissions, counts, lost);
    // A teacher that allows nothing teaches nothing.
    for (int lane = 0; lane < group.count; ++lane)
      if (!lost[lane] && !p.possible[lane]) clear(teacher, group.sentences[lane].index, counts);
  }
};

inline int64_t divergence(const Chains& teacher, const Chains& student, bool subtract_entropy, float* value,
                          const Counts& counts, uint8_t* failed, int threads) {
  const std::vector<Sentence> sentences = sentences_of(teacher);
  clear_empty(teacher, sentences, counts, failed);
  for (const Sentence& s : sentences)
    if (s.length == 0) value[s.index] = 0;
  return run(Divergence{teacher, student, subtract_entropy, value, counts}, teacher, sentences, failed, threads);
}

// ------------------------------------------------------------------ sampling

struct Sampling : OneChain {
  static constexpr double COST = 1;
  const float* uniforms;
  const int64_t n;
  int64_t* tags;
  Sampling(const Chains& chains, const float* u, int64_t count, int64_t* to)
      : OneChain(chains), uniforms(u), n(count), tags(to) {}

  template <class Real>
  size_t bytes(int words) const {
    return spare_bytes() + sweep_bytes<Real>(words, false) + Arena::bytes_for<Real>(c.labels);
  }

  template <class Real>
  void run(const Group<Real>& group, const Table<Real, true>& table, Arena& arena, bool* lost) const {
    with_sweep<Real>(group, table, arena, false, [&](auto& sweep, float*) {
      const int labels = sweep.labels;
      Real* cumulated = arena.take<Real>(labels);
      sweep.forward();
      sweep.backward(false);
      lost_lanes<Real>(group, sweep.held, lost);
      for (int lane = 0; lane < group.count; ++lane) {
        if (lost[lane]) continue;
        const Sentence& s = group.sentences[lane];
        for (int64_t draw = 0; draw < n; ++draw) {
          const float* u = uniforms + (s.index * n + draw) * c.words;
          int64_t* to = tags + (s.index * n + draw) * c.words;
          std::fill(to, to + c.words, int64_t(0));
          int before = -1;
          for_words(c, s, [&](int t, int position) {
            const auto* right = sweep.right + int64_t(t) * labels;
            Real sum = 0;
            for (int j = 0; j < labels; ++j) {
              Real step;
              if (t == 0)
                step = sweep.start[j][lane];
              else
                step = entry(sweep.table.weights[int64_t(before) * labels + j], lane);
              sum += step * right[j][lane];
              cumulated[j] = sum;
            }
            const Real at = Real(u[position]) * sum;
            // The last label with a weight of its own, if rounding leads beyond it.
            int chosen = 0;
            while (chosen < labels - 1 && !(cumulated[chosen] > at)) ++chosen;
            while (chosen > 0 && cumulated[chosen] == cumulated[chosen - 1]) --chosen;
            to[position] = before = chosen;
          });
        }
      }
    });
  }
  template <class Real>
  static Real entry(Real shared, int) {
    return shared;
  }
  static float entry(const Vector<float>& own, int lane) { return own[lane]; }
  static double entry(const Vector<double>& own, int lane) { return own[lane]; }
};

inline int64_t sample(const Chains& c, const float* uniforms, int64_t n, int64_t* tags, uint8_t* failed, int threads) {
  const std::vector<Sentence> sentences = sentences_of(c);
  for (const Sentence& s : sentences)
    if (s.length == 0) {
      failed[s.index] = 0;
      std::fill(tags + s.index * n * c.words, tags + (s.index + 1) * n * c.words, int64_t(0));
    }
  return run(Sampling(c, uniforms, n, tags), c, sentences, failed, threads);
}

// ------------------------------------------------------------------ decoding

// Largest score of the ways to reach each label of each word, (T, L).
template <class Entry>
void best_scores(const Group<float>& group, const Entry* a, const Vector<float>* start, Vector<float>* delta) {
  using V = Vector<float>;
  const int labels = static_cast<int>(group.chains.labels);
  for (int j = 0; j < labels; ++j) delta[j] = start[j] + delta[j];
  for (int t = 1; t < group.longest; ++t) {
    V *now = delta + int64_t(t) * labels, *before = now - labels;
    const bool ragged = t >= group.shortest;
    const auto inside = group.inside(t);
    constexpr int widest = WIDEST<float>;
    pieces(labels, widest, [&](int j, int width) __attribute__((always_inline)) {
      switch (width) {
#define CASE(W)                                                                      \
  case W:                                                                            \
    if constexpr (W <= widest) {                                                     \
      V best[W];                                                                     \
      for (int k = 0; k < W; ++k) best[k] = before[0] + a[j + k];                    \
      for (int i = 1; i < labels; ++i) {                                             \
        const V x = before[i];                                                       \
        const Entry* row = a + int64_t(i) * labels + j;                              \
        for (int k = 0; k < W; ++k) best[k] = larger(x + row[k], best[k]);           \
      }                                                                              \
      for (int k = 0; k < W; ++k) {                                                  \
        const V reached = best[k] + now[j + k];                                      \
        now[j + k] = ragged ? (inside ? reached : before[j + k]) : reached;          \
      }                                                                              \
    }                                                                                \
    break;
        BY_WIDTH(CASE)
#undef CASE
      }
    });
  }
}

// What finding the best labellings begins with: the scores of the best ways.
struct BestWays : OneChain {
  using OneChain::OneChain;

  template <class Real>
  size_t shared_bytes() const {
    return Arena::bytes_for<float>(padded(c.labels * c.labels));
  }
  template <class Real>
  float* shared_tables(Arena& arena) const {
    if (!shares_table()) return nullptr;
    float* a = arena.take<float>(padded(c.labels * c.labels));
    for (int64_t k = 0; k < c.labels * c.labels; ++k) a[k] = std::max(c.transitions[k], FORBIDDEN);
    return a;
  }
  size_t best_ways_bytes(int words) const {
    return spare_bytes() + Arena::bytes_for<Vector<float>>(padded(words * c.labels)) +
           2 * Arena::bytes_for<Vector<float>>(padded(c.labels)) +
           (shares_table() ? 0 : square_bytes<float>());
  }
  // body(transitions (L, L), scores of the best ways (T, L), end scores (L)).
  template <class Body>
  ALWAYS_INLINE void with_best_ways(const Group<float>& group, const float* shared, Arena& arena, Body body) const {
    using V = Vector<float>;
    const int labels = static_cast<int>(c.labels);
    float* spare = arena.take<float>(16 * c.words * c.labels);
    V* delta = arena.take<V>(padded(int64_t(group.longest) * labels));
    V *start = arena.take<V>(padded(labels)), *end = arena.take<V>(padded(labels));
    group.read_table(c.start, c.start_stride, labels, start);
    group.read_table(c.end, c.end_stride, labels, end);
    group.read(c.emissions, delta, spare);
    for (int64_t k = 0; k < int64_t(group.longest) * labels; ++k) delta[k] = larger(delta[k], all<float>(FORBIDDEN));
    if (shares_table()) {
      best_scores(group, shared, start, delta);
      body(shared, delta, end);
    } else {
      V* own = arena.take<V>(padded(c.labels * c.labels));
      group.read_table(c.transitions, c.transitions_stride, c.labels * c.labels, own);
      best_scores(group, own, start, delta);
      body(own, delta, end);
    }
  }
  static float entry(float shared, int) { return shared; }
  static float entry(const Vector<float>& own, int lane) { return own[lane]; }

  // visit(t, position of word t) from the last word to the first.
  template <class Visit>
  ALWAYS_INLINE void for_words_backwards(const Sentence& s, Visit visit) const {
    const uint8_t* mask = s.gaps ? c.mask + s.index * c.words : nullptr;
    int place = mask ? static_cast<int>(c.words) - 1 : s.first + s.length - 1;
    for (int t = s.length - 1; t >= 0; --t, --place) {
      if (mask)
        while (!mask[place]) --place;
      visit(t, place);
    }
  }
};

struct Decoding : BestWays {
  static constexpr double COST = 1;
  int64_t* tags;
  Decoding(const Chains& chains, int64_t* to) : BestWays(chains), tags(to) {}

  template <class Real>
  size_t bytes(int words) const {
    return best_ways_bytes(words);
  }

  template <class Real>
  void run(const Group<float>& group, const float* shared, Arena& arena, bool*) const {
    with_best_ways(group, shared, arena, [&](const auto* a, const Vector<float>* delta, const Vector<float>* end) {
      for (int lane = 0; lane < group.count; ++lane) follow(group.sentences[lane], lane, a, delta, end);
    });
  }

  // No pointers were kept: which label the best way came from is found again for the labels of the best path only.
  template <class Entry>
  void follow(const Sentence& s, int lane, const Entry* a, const Vector<float>* delta, const Vector<float>* end) const {
    const int labels = static_cast<int>(c.labels);
    const Vector<float>* last = delta + int64_t(s.length - 1) * labels;
    int label = 0;
    float best = last[0][lane] + end[0][lane];
    for (int j = 1; j < labels; ++j) {
      const float score = last[j][lane] + end[j][lane];
      if (score > best) best = score, label = j;
    }
    int64_t* to = tags + s.index * c.words;
    std::fill(to, to + c.words, int64_t(0));
    for_words_backwards(s, [&](int t, int place) {
      to[place] = label;
      if (t == 0) return;
      const Vector<float>* before = delta + int64_t(t - 1) * labels;
      int from = 0;
      float best_way = before[0][lane] + entry(a[label], lane);
      for (int i = 1; i < labels; ++i) {
        const float way = before[i][lane] + entry(a[int64_t(i) * labels + label], lane);
        if (way > best_way) best_way = way, from = i;
      }
      label = from;
    });
  }
};

inline int64_t argmax(const Chains& c, int64_t* tags, int threads) {
  const std::vector<Sentence> sentences = sentences_of(c);
  for (const Sentence& s : sentences)
    if (s.length == 0) std::fill(tags + s.index * c.words, tags + (s.index + 1) * c.words, int64_t(0));
  std::vector<uint8_t> failed(c.batch);
  run_as<float>(Decoding(c, tags), c, longest_first(sentences), failed.data(), threads);
  return 0;
}

// The ways found so far to reach some of the labels of a sentence, a node for each of those labels.
struct Ways {
  const int64_t labels, k;
  int32_t used;         // nodes
  int32_t* nodes;       // (T, L): the label's node, or -1
  float* heads;         // (nodes, L): score of the best way through each label before it that is not found yet
  float* found;         // (nodes, K): scores of the ways found, descending; from the end of all ways on 2 * FORBIDDEN
  int32_t* before;      // (nodes, K): of each the label before it,
  int32_t* ranks;       // (nodes, K): and which of the ways to reach that it goes on from
  int32_t* counts;      // (nodes,): how many are found
  int32_t* descent;     // (T + 1,): the labels of the latest way, from the end of the sentence downwards

  // Each labelling asks for at most one label of a word when it is found, and one when it is written.
  static int64_t most(int64_t words, int64_t labels, int64_t k) { return words * std::min(labels, 2 * k) + 1; }
  static size_t bytes(int64_t words, int64_t labels, int64_t k) {
    const int64_t n = most(words, labels, k);
    return Arena::bytes_for<int32_t>(words * labels) + Arena::bytes_for<float>(n * labels) +
           Arena::bytes_for<float>(n * k) + 2 * Arena::bytes_for<int32_t>(n * k) + Arena::bytes_for<int32_t>(n) +
           Arena::bytes_for<int32_t>(words + 1);
  }
  Ways(int64_t words, int64_t l, int64_t many, Arena& arena) : labels(l), k(many), used(0) {
    const int64_t n = most(words, labels, k);
    nodes = arena.take<int32_t>(words * labels);
    heads = arena.take<float>(n * labels);
    found = arena.take<float>(n * k);
    before = arena.take<int32_t>(n * k);
    ranks = arena.take<int32_t>(n * k);
    counts = arena.take<int32_t>(n);
    descent = arena.take<int32_t>(words + 1);
  }
  void clear(int64_t words) {
    used = 0;
    std::fill(nodes, nodes + words * labels, -1);
  }

  // The best of the heads is the node's next way, of equals that of the lowest label.
  void find_one(int32_t node, float emission) {
    const float* head = heads + node * labels;
    // Four at a time, so that they need not wait for one another.
    float tops[4] = {head[0], head[0], head[0], head[0]};
    int64_t i = 1;
    for (; i + 4 <= labels; i += 4)
      for (int64_t n = 0; n < 4; ++n) tops[n] = std::max(tops[n], head[i + n]);
    for (; i < labels; ++i) tops[0] = std::max(tops[0], head[i]);
    const float top = std::max(std::max(tops[0], tops[1]), std::max(tops[2], tops[3]));
    const int64_t at = node * k;
    int32_t& count = counts[node];
    if (!(top > FORBIDDEN_BELOW)) {
      for (; count < k; ++count) found[at + count] = 2 * FORBIDDEN, before[at + count] = ranks[at + count] = 0;
      return;
    }
    int32_t label = 0;
    while (head[label] != top) ++label;
    int32_t rank = 0;
    for (int32_t r = 0; r < count; ++r) rank += before[at + r] == label;
    found[at + count] = top + emission;
    before[at + count] = label;
    ranks[at + count] = rank;
    ++count;
  }
};

// The K best labellings by recursive enumeration (Jimenez and Marzal 1999). The best way to reach each label is found
// for all labels, of 16 sentences side by side; other ways only where they are asked for: the way after one that went
// through a label goes on from the next way to reach that label, or through another.
struct KBest : BestWays {
  static constexpr double COST = 4;
  const int64_t k;
  int64_t* tags;
  float* scores;
  KBest(const Chains& chains, int64_t many, int64_t* to, float* to_scores)
      : BestWays(chains), k(many), tags(to), scores(to_scores) {}

  template <class Real>
  size_t bytes(int words) const {
    return best_ways_bytes(words) + Ways::bytes(words, c.labels, k) + Arena::bytes_for<int32_t>(words);
  }

  template <class Real>
  void run(const Group<float>& group, const float* shared, Arena& arena, bool*) const {
    with_best_ways(group, shared, arena, [&](const auto* a, const Vector<float>* delta, const Vector<float>* end) {
      Ways ways(group.longest, c.labels, k, arena);
      int32_t* places = arena.take<int32_t>(group.longest);
      for (int lane = 0; lane < group.count; ++lane)
        enumerate(group.sentences[lane], lane, a, delta, end, ways, places);
    });
  }

  template <class Entry>
  void enumerate(const Sentence& s, int lane, const Entry* a, const Vector<float>* delta, const Vector<float>* end,
                 Ways& ways, int32_t* places) const {
    const int64_t labels = c.labels;
    ways.clear(s.length);
    for_words(c, s, [&](int t, int position) { places[t] = position; });
    const float* emissions = c.emissions + s.index * c.words * labels;
    const auto emission = [&](int t, int32_t j) { return std::max(emissions[places[t] * labels + j], FORBIDDEN); };
    // Word t = length, of one label, stands for the end of the sentence.
    const auto step = [&](int t, int64_t i, int32_t j) {
      return t == s.length ? end[i][lane] : entry(a[i * labels + j], lane);
    };
    const auto added = [&](int t, int32_t j) { return t == s.length ? 0.0f : emission(t, j); };
    // A node for label j of word t >= 1, with its best way.
    const auto make = [&](int t, int32_t j) {
      const int32_t node = ways.used++;
      const Vector<float>* reached = delta + int64_t(t - 1) * labels;
      for (int64_t i = 0; i < labels; ++i) ways.heads[node * labels + i] = reached[i][lane] + step(t, i, j);
      ways.counts[node] = 0;
      ways.find_one(node, added(t, j));
      return node;
    };
    const auto node_of = [&](int t, int32_t j) {
      int32_t& node = ways.nodes[t * labels + j];
      if (node < 0) node = make(t, j);
      return node;
    };
    const int32_t last = make(s.length, 0);
    while (ways.counts[last] < k) {
      // Down along the latest way, to where the next way to reach the label before is known ...
      int t = s.length;
      for (int32_t node = last, j = 0;; --t) {
        ways.descent[t] = j;
        if (t == 1) break;
        const int64_t latest = node * k + ways.counts[node] - 1;
        j = ways.before[latest];
        node = node_of(t - 1, j);
        if (ways.counts[node] > ways.ranks[latest] + 1) break;
      }
      // ... and up again, with one way more for each.
      for (; t <= s.length; ++t) {
        const int32_t j = ways.descent[t], node = t == s.length ? last : ways.nodes[t * labels + j];
        const int64_t latest = node * k + ways.counts[node] - 1;
        const int32_t i = ways.before[latest];
        // A label of the first word is reached in one way.
        float next = 2 * FORBIDDEN;
        if (t > 1) next = ways.found[ways.nodes[(t - 1) * labels + i] * k + ways.ranks[latest] + 1];
        ways.heads[node * labels + i] = next + step(t, i, j);
        ways.find_one(node, added(t, j));
      }
    }
    for (int64_t r = 0; r < k; ++r) {
      int64_t* to = tags + (s.index * k + r) * c.words;
      std::fill(to, to + c.words, int64_t(0));
      const float score = ways.found[last * k + r];
      const bool exists = score > FORBIDDEN_BELOW;
      scores[s.index * k + r] = exists ? score : -std::numeric_limits<float>::infinity();
      if (!exists) continue;
      int64_t way = last * k + r;
      for_words_backwards(s, [&](int t, int place) {
        const int32_t label = ways.before[way];
        to[place] = label;
        if (t > 0) way = node_of(t, label) * k + ways.ranks[way];
      });
    }
  }
};

inline int64_t k_best(const Chains& c, int64_t k, int64_t* tags, float* scores, int threads) {
  const std::vector<Sentence> sentences = sentences_of(c);
  for (const Sentence& s : sentences)
    if (s.length == 0) {
      std::fill(tags + s.index * k * c.words, tags + (s.index + 1) * k * c.words, int64_t(0));
      for (int64_t r = 0; r < k; ++r)
        scores[s.index * k + r] = r == 0 ? 0.0f : -std::numeric_limits<float>::infinity();
    }
  std::vector<uint8_t> failed(c.batch);
  run_as<float>(KBest(c, k, tags, scores), c, longest_first(sentences), failed.data(), threads);
  return 0;
}

// ------------------------------------------------------------------ scores

inline int64_t score(const Chains& c, const int64_t* tags, int64_t m, float* scores) {
  for (const Sentence& s : sentences_of(c))
    for (int64_t i = 0; i < m; ++i) scores[s.index * m + i] = path_score(c, s, tags + (s.index * m + i) * c.words);
  return 0;
}

inline int64_t score_gradient(const Chains& c, const int64_t* tags, int64_t m, const float* scale,
                              const Counts& counts) {
  for (const Sentence& s : sentences_of(c)) {
    clear(c, s.index, counts);
    for (int64_t i = 0; i < m; ++i) add_path(c, s, tags + (s.index * m + i) * c.words, scale[s.index * m + i], counts);
  }
  return 0;
}

// ------------------------------------------------------------------ checks

inline int64_t dishonest(const float* values, const uint8_t* mask, int64_t rows, int64_t columns) {
  const float infinity = std::numeric_limits<float>::infinity();
  for (int64_t row = 0; row < rows;) {
    if (mask && !mask[row]) {
      ++row;
      continue;
    }
    int64_t after = row + 1;
    while (after < rows && (!mask || mask[after])) ++after;
    int bad = 0;
    // NaN compares false with everything, so that one comparison finds both.
    for (int64_t k = row * columns; k < after * columns; ++k) bad |= !(values[k] < infinity);
    if (bad) return 1;
    row = after;
  }
  return 0;
}

static const Operations OPERATIONS = {
    VARIANT_NAME, dishonest, likelihood, log_marginals, log_marginals_gradient, divergence, sample, argmax, k_best,
    score,        score_gradient, scaled,
};

#endif  // STRUCTKD_VARIANT
