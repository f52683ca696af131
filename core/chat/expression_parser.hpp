// Parses what stands inside {{ }} and {% %}: Jinja's expressions, by recursive descent. The statement parser builds on
// it.
#pragma once

#include <initializer_list>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "core/chat/ast.hpp"
#include "core/chat/lexer.hpp"

namespace nacelle::jinja {

class ExpressionParser {
 protected:
  ExpressionParser(std::vector<Token> tokens, Tree& tree) : tokens_(std::move(tokens)), tree_(tree) {}

  // Brackets, blocks and operators that nest deeper than this are refused, which bounds the parser's own recursion.
  static constexpr int kMaxNesting = 100;
  class Nesting {
   public:
    explicit Nesting(ExpressionParser& parser);
    ~Nesting() { --depth_; }
    Nesting(const Nesting&) = delete;
    Nesting& operator=(const Nesting&) = delete;

   private:
    int& depth_;
  };

  const Token& current() const { return tokens_[next_]; }
  const Token& ahead() const { return tokens_[next_ + 1 < tokens_.size() ? next_ + 1 : next_]; }
  const Token& advance();
  bool skip_operator(std::string_view sign);
  bool skip_name(std::string_view name);
  void expect_operator(std::string_view sign);
  std::string expect_name(std::string_view what);
  [[noreturn]] void fail(const std::string& message) const;
  [[noreturn]] void fail_expected(std::string_view what) const;

  enum class Condition { kAllowed, kExcluded };  // whether `a if b` may stand here: not behind `for x in`
  const Expr* expression(Condition condition = Condition::kAllowed);
  // One expression, or a tuple where commas follow.
  const Expr* expression_list(Condition condition = Condition::kAllowed);
  const Expr* postfix_expression();
  CallArguments call_arguments();
  const Filter* filter(const Expr* operand);

  // Called for each variable that is read.
  virtual void note_name(Symbol) {}
  virtual ~ExpressionParser() = default;

  std::vector<Token> tokens_;
  Tree& tree_;

 private:
  const Expr* disjunction();
  const Expr* conjunction();
  const Expr* negation();
  const Expr* comparison();
  const Expr* sum();
  const Expr* concatenation();
  const Expr* product();
  const Expr* power();
  const Expr* unary(bool with_filters);
  const Expr* primary();
  const Expr* name_or_constant();
  const Expr* string_literal();
  const Expr* number();
  const Expr* parenthesized();
  const Expr* list_literal();
  const Expr* dict_literal();
  const Expr* postfix(const Expr* node);
  const Expr* filters(const Expr* node);
  const Expr* subscript(const Expr* object);
  const Expr* call(const Expr* callee);
  const Expr* test(const Expr* operand);
  template <class Next>
  const Expr* binary_chain(Next next, std::initializer_list<std::pair<std::string_view, BinaryOp>> ops);
  bool ends_tuple(Condition condition) const;

  std::size_t next_ = 0;
  int depth_ = 0;
};

}  // namespace nacelle::jinja
