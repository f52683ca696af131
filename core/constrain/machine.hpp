// Runs a network: states are found as they are reached (lazily determinised) and remembered, with the token masks that
// belong to them.
//
// A state (Config) is a set of items, each a position and a stack of what called it. Stacks are sets of frames that
// share their tails, so an ambiguous grammar costs polynomial room. A frame keeps the count of a repeat, so {m,n} needs
// no copies.
//
// A mask is computed for a state's *local* form: stacks are cut where a barrier rule (recursive, or shared such as a
// JSON string) was called, and what lies below becomes a hole; counts too large to run out within one token become
// unbounded. Local forms are few, however deep a document is. Tokens that run past the end of a barrier rule are found
// once as escapes into a hole, and tried out on the real stack, whose answer is remembered too.
#pragma once

#include <algorithm>
#include <array>
#include <chrono>
#include <memory>
#include <mutex>
#include <span>
#include <unordered_map>
#include <vector>

#include "core/base/thread_cpu.hpp"
#include "core/constrain/interner.hpp"
#include "core/constrain/network.hpp"
#include "core/constrain/vocabulary.hpp"

namespace nacelle::constrain {

using Config = std::uint32_t;
inline constexpr Config kDead = 0;

// What a machine runs: shared by a grammar's machines.
struct Program {
  explicit Program(std::unique_ptr<const Network> finished);
  struct Call {
    RuleId rule;  // called
    RuleId by;    // the rule that calls
    PositionId to;
    std::uint32_t min, max;
    bool last;  // nothing is left to do behind it, and masks may be shared across it
  };
  std::unique_ptr<const Network> network;
  ByteClasses classes;
  std::vector<Call> calls;                // by position
  std::vector<std::uint32_t> first_call;  // [position + 1]
};

class Machine {
 public:
  Machine(std::shared_ptr<const Program> program, std::shared_ptr<const Vocabulary> vocabulary);

  // Held by the caller of every function below.
  std::mutex mutex;

  // Of no other machine, also none that is gone.
  std::uint64_t number() const noexcept { return number_; }
  Config start() const noexcept { return start_; }
  Config step(Config config, std::uint8_t byte) {
    const std::size_t place = std::size_t{config} * width_ + program_->classes.of[byte];
    return transitions_[place] != kUnknown ? transitions_[place] : advance(config, byte);
  }
  Config run(Config config, std::string_view bytes);
  bool accepts(Config config) const noexcept { return (flags_[config] & kAccepts) != 0; }
  // No byte can follow.
  bool is_final(Config config) const noexcept { return configs_.at(config).size() == 1; }
  // The one byte that must follow; -1 where there are several, none, or the text may end.
  int only_byte(Config config) const;
  // Whether some token starts with `text`, is longer, and is allowed.
  bool has_longer_token(Config config, std::string_view text);

  // One bit for each token that `config` allows.
  void write_mask(Config config, std::span<std::uint32_t> words);
  // What makes the next write_mask() there a copy.
  void learn_mask(Config config, unsigned depth = 0);

  // Begins the count of a call's work, which may come to `limit` steps; `timed`: of 20 ns of the thread's
  // CPU time at least, for a step in a machine that has grown large takes several times that. A call that would take
  // more gives up, and exhausted() says so until the next one begins: what it answered does not count, but what it has
  // found on the way stays, so that the same call, made again, gets further.
  void begin_work(std::uint64_t limit, bool timed = false) noexcept {
    work_ = 0, limit_ = limit, exhausted_ = false, timed_ = timed;
    if (timed) begin_ = thread_cpu();
  }
  std::uint64_t work() const noexcept { return timed_ ? std::max(work_, timed_steps()) : work_; }
  bool exhausted() const noexcept { return exhausted_; }
  static constexpr std::uint64_t kMaxWork = 5'000'000;  // of one token

  std::size_t bytes() const noexcept;
  // The same state in this machine. `done` is kept from one state of `other` to the next: they share most of their
  // stacks.
  using Imported = std::unordered_map<std::uint32_t, std::uint32_t>;
  Config import(const Machine& other, Config config, Imported& done);
  // True once it has learnt more than it is worth; what it was given by import() does not count.
  bool is_full() const noexcept { return bytes() > imported_bytes_ + kMaxBytes; }
  void note_imported() noexcept { imported_bytes_ = bytes(); }

 private:
  using StackId = std::uint32_t;
  using FrameId = std::uint32_t;
  static constexpr std::uint32_t kUnknown = 0xFFFFFFFFu;
  static constexpr std::uint32_t kAccepts = 1;  // flags: the holes that are reached are above
  static constexpr std::uint32_t kHoles = 8;
  // Frames 0 to kHoles only mark: the bottom of the stack, and holes.
  static constexpr FrameId kBottom = 0;

  struct Item {
    PositionId position;
    StackId stack;
  };
  struct Frame {
    std::uint32_t call, need, left;
    StackId parent;
  };
  struct Escape {
    std::uint32_t node;
    std::uint8_t hole;
    bool plain;  // of which trie
  };
  // The mask of a local form.
  struct Shape {
    std::vector<std::uint32_t> dense;                  // empty where few bits are set
    std::vector<TokenId> sparse;                       // then these, and
    const std::vector<std::uint32_t>* base = nullptr;  // these of the vocabulary's plain tokens
    std::vector<Escape> escapes;
    std::uint32_t holes_at_once = 0;  // bits: reached before any byte
  };
  struct Local {
    Config config;
    std::vector<StackId> holes;
  };
  // The mask of a state.
  struct Mask {
    const Shape* shape;
    std::vector<TokenId> beyond;  // tokens that reach past the local form
    std::vector<Config> also;     // states that count as reached too: their masks join
  };

  // machine.cpp: states
  Config advance(Config config, std::uint8_t byte);
  StackId stack_of(FrameId frame);
  StackId union_of(std::span<const Item> items);
  FrameId frame(std::uint32_t call, std::uint32_t need, std::uint32_t left, StackId parent);
  Frame frame_at(FrameId id) const;
  void reach(PositionId position, StackId stack);
  void enter(FrameId frame);
  void pop(StackId stack);
  Config close();
  Config resume(StackId stack);
  StackId import_stack(const Machine& other, StackId stack, Imported& done);
  std::uint64_t timed_steps() const noexcept { return static_cast<std::uint64_t>((thread_cpu() - begin_) / kStep); }
  void count_work(std::uint64_t items = 1) {
    work_ += items, closure_work_ += items;
    if (timed_ && (unseen_ += items) > 1024) {
      unseen_ = 0;
      exhausted_ |= timed_steps() > limit_;
    }
    if (work_ > limit_ || closure_work_ > kMaxClosure) exhausted_ = true;
  }

  // mask.cpp: tokens. Pointers are null where the work was too much: what is not whole is not kept.
  const Local* local(Config config);
  using Localised = std::unordered_map<std::uint64_t, StackId>;  // by rule and stack, of one state
  bool localise(RuleId rule, StackId stack, unsigned depth, Localised& done, std::vector<StackId>& holes, StackId& out);
  const Shape* shape(Config local);
  const Mask* mask(Config config, bool whole);
  std::unique_ptr<Mask> make_mask(const Local& form);
  const Mask* find_mask(Config config, unsigned depth);
  void add_mask(Config config, std::span<std::uint32_t> words, unsigned depth);
  void add_mask(const Mask& mask, std::span<std::uint32_t> words, const std::vector<std::uint32_t>* but,
                unsigned depth);
  template <class Visit>
  void walk(const Trie& trie, std::uint32_t begin, std::uint32_t end, std::uint32_t depth, Config config,
            std::vector<Escape>* escapes, Visit&& visit);
  Config after_plain_character(Config config);
  bool plain_run(Config config, const std::vector<std::uint32_t>*& base);

  static constexpr std::chrono::nanoseconds kStep{20};
  static constexpr std::uint32_t kNodesAStep = 8;  // of a walk over the vocabulary, where all states are known
  static constexpr std::size_t kMaxBytes = 24u << 20;
  static constexpr std::uint64_t kMaxClosure = 200'000;  // of one state: no more than an engine gives a step

  static std::uint64_t next_number() noexcept;

  const std::uint64_t number_ = next_number();
  std::shared_ptr<const Program> program_;
  std::shared_ptr<const Vocabulary> vocabulary_;
  std::size_t width_;                   // byte classes
  Interner frames_, stacks_, configs_;  // a config: flags, then position and stack of each item
  std::vector<std::uint32_t> flags_, transitions_;
  std::unordered_map<StackId, Config> resumed_;
  Config start_ = kDead;
  std::uint64_t work_ = 0, closure_work_ = 0, limit_ = kMaxWork;
  bool exhausted_ = false;
  bool timed_ = false;
  std::uint64_t unseen_ = 0;  // work since the clock was looked at
  std::chrono::nanoseconds begin_{};
  std::size_t imported_bytes_ = 0;

  // Of one closure.
  std::vector<Item> pending_, items_;
  QuickSet fresh_;  // repeats of what may be empty, entered in this closure
  QuickSet seen_items_, seen_frames_, seen_stacks_;
  std::uint32_t reached_ = 0;  // flags
  std::vector<std::uint32_t> scratch_;

  std::unordered_map<Config, Local> locals_;
  std::unordered_map<Config, Shape> shapes_;
  Interner mask_keys_;                        // local form and what lies in its holes
  std::vector<std::unique_ptr<Mask>> masks_;  // by key
  std::unordered_map<Config, const Mask*> mask_of_;
  std::size_t mask_bytes_ = 0;
  std::array<Config, 256> path_{};  // of one walk, by depth
};

}  // namespace nacelle::constrain
