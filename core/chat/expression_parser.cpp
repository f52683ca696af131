// The grammar of Jinja's expressions, one function a level of precedence.
#include "core/chat/expression_parser.hpp"

#include <algorithm>
#include <charconv>

namespace nacelle::jinja {

ExpressionParser::Nesting::Nesting(ExpressionParser& parser) : depth_(parser.depth_) {
  if (depth_ >= kMaxNesting) {
    parser.fail("nested deeper than " + std::to_string(kMaxNesting) + " levels");
  }
  ++depth_;
}

const Token& ExpressionParser::advance() {
  const Token& token = tokens_[next_];
  if (next_ + 1 < tokens_.size()) ++next_;
  return token;
}

bool ExpressionParser::skip_operator(std::string_view sign) {
  if (!current().is_operator(sign)) return false;
  advance();
  return true;
}

bool ExpressionParser::skip_name(std::string_view name) {
  if (!current().is_name(name)) return false;
  advance();
  return true;
}

void ExpressionParser::expect_operator(std::string_view sign) {
  if (!skip_operator(sign)) fail_expected("'" + std::string(sign) + "'");
}

std::string ExpressionParser::expect_name(std::string_view what) {
  if (current().type != TokenType::kName) fail_expected(what);
  return advance().text;
}

void ExpressionParser::fail(const std::string& message) const { throw SyntaxError(message, current().at); }

void ExpressionParser::fail_expected(std::string_view what) const {
  const Token& token = current();
  const std::string found = token.type == TokenType::kEnd      ? "the template's end"
                            : token.type == TokenType::kData   ? "text"
                            : token.type == TokenType::kString ? "a string"
                                                               : "'" + token.text + "'";
  fail("expected " + std::string(what) + ", found " + found);
}

const Expr* ExpressionParser::expression(Condition condition) {
  const Nesting nesting(*this);
  const Expr* node = disjunction();
  while (condition == Condition::kAllowed && current().is_name("if")) {
    auto* made = tree_.make<Conditional>(advance().at);
    made->then = node;
    made->test = disjunction();
    made->otherwise = skip_name("else") ? expression() : nullptr;
    node = made;
  }
  return node;
}

bool ExpressionParser::ends_tuple(Condition condition) const {
  const Token& token = current();
  if (token.type == TokenType::kVariableEnd || token.type == TokenType::kBlockEnd) return true;
  return token.is_operator(")") ||
         (condition == Condition::kExcluded && (token.is_name("recursive") || token.is_name("if")));
}

const Expr* ExpressionParser::expression_list(Condition condition) {
  const std::size_t at = current().at;
  const Expr* first = expression(condition);
  if (!current().is_operator(",")) return first;
  auto* tuple = tree_.make<ListLiteral>(at);
  tuple->flavour = List::Flavour::kTuple;
  tuple->items.push_back(first);
  while (skip_operator(",") && !ends_tuple(condition)) tuple->items.push_back(expression(condition));
  return tuple;
}

const Expr* ExpressionParser::disjunction() {
  const Expr* left = conjunction();
  while (current().is_name("or")) {
    auto* node = tree_.make<Logical>(advance().at);
    node->is_and = false;
    node->left = left;
    node->right = conjunction();
    left = node;
  }
  return left;
}

const Expr* ExpressionParser::conjunction() {
  const Expr* left = negation();
  while (current().is_name("and")) {
    auto* node = tree_.make<Logical>(advance().at);
    node->is_and = true;
    node->left = left;
    node->right = negation();
    left = node;
  }
  return left;
}

const Expr* ExpressionParser::negation() {
  if (!current().is_name("not")) return comparison();
  const Nesting nesting(*this);
  auto* node = tree_.make<Not>(advance().at);
  node->operand = negation();
  return node;
}

const Expr* ExpressionParser::comparison() {
  static constexpr std::pair<std::string_view, CompareOp> kOps[] = {{"==", CompareOp::kEq}, {"!=", CompareOp::kNe},
                                                                    {"<", CompareOp::kLt},  {"<=", CompareOp::kLe},
                                                                    {">", CompareOp::kGt},  {">=", CompareOp::kGe}};
  const std::size_t at = current().at;
  const Expr* first = sum();
  std::vector<std::pair<CompareOp, const Expr*>> rest;
  while (true) {
    const auto* op =
        std::find_if(std::begin(kOps), std::end(kOps), [&](auto& o) { return current().is_operator(o.first); });
    CompareOp found;
    if (op != std::end(kOps)) {
      found = op->second;
    } else if (current().is_name("in")) {
      found = CompareOp::kIn;
    } else if (current().is_name("not") && ahead().is_name("in")) {
      found = CompareOp::kNotIn;
      advance();
    } else {
      break;
    }
    advance();
    rest.emplace_back(found, sum());
  }
  if (rest.empty()) return first;
  auto* node = tree_.make<Comparison>(at);
  node->first = first;
  node->rest = std::move(rest);
  return node;
}

template <class Next>
const Expr* ExpressionParser::binary_chain(Next next,
                                           std::initializer_list<std::pair<std::string_view, BinaryOp>> ops) {
  const Expr* left = (this->*next)();
  while (true) {
    const auto* op = std::find_if(ops.begin(), ops.end(), [&](auto& o) { return current().is_operator(o.first); });
    if (op == ops.end()) return left;
    auto* node = tree_.make<Binary>(advance().at);
    node->op = op->second;
    node->left = left;
    node->right = (this->*next)();
    left = node;
  }
}

const Expr* ExpressionParser::sum() {
  return binary_chain(&ExpressionParser::concatenation, {{"+", BinaryOp::kAdd}, {"-", BinaryOp::kSub}});
}

const Expr* ExpressionParser::concatenation() {
  const std::size_t at = current().at;
  const Expr* first = product();
  if (!current().is_operator("~")) return first;
  auto* node = tree_.make<Concat>(at);
  node->parts.push_back(first);
  while (skip_operator("~")) node->parts.push_back(product());
  return node;
}

const Expr* ExpressionParser::product() {
  return binary_chain(
      &ExpressionParser::power,
      {{"*", BinaryOp::kMul}, {"/", BinaryOp::kDiv}, {"//", BinaryOp::kFloorDiv}, {"%", BinaryOp::kMod}});
}

const Expr* ExpressionParser::power() {
  const Expr* left = unary(true);
  while (current().is_operator("**")) {
    auto* node = tree_.make<Binary>(advance().at);
    node->op = BinaryOp::kPow;
    node->left = left;
    node->right = unary(true);
    left = node;
  }
  return left;
}

const Expr* ExpressionParser::unary(bool with_filters) {
  const Expr* node;
  if (current().is_operator("-") || current().is_operator("+")) {
    const Nesting nesting(*this);
    auto* sign = tree_.make<Sign>(current().at);
    sign->negative = advance().text == "-";
    sign->operand = unary(false);
    node = postfix(sign);
  } else {
    node = postfix_expression();
  }
  return with_filters ? filters(node) : node;
}

const Expr* ExpressionParser::postfix_expression() { return postfix(primary()); }

const Expr* ExpressionParser::primary() {
  switch (current().type) {
    case TokenType::kName: return name_or_constant();
    case TokenType::kString: return string_literal();
    case TokenType::kInteger:
    case TokenType::kFloat: return number();
    default: break;
  }
  if (current().is_operator("(")) return parenthesized();
  if (current().is_operator("[")) return list_literal();
  if (current().is_operator("{")) return dict_literal();
  fail_expected("an expression");
}

const Expr* ExpressionParser::name_or_constant() {
  const Token& token = advance();
  static const std::pair<std::string_view, Value> kConstants[] = {{"true", Value(true)},   {"True", Value(true)},
                                                                  {"false", Value(false)}, {"False", Value(false)},
                                                                  {"none", Value(None{})}, {"None", Value(None{})}};
  for (const auto& [name, value] : kConstants) {
    if (token.text != name) continue;
    auto* node = tree_.make<Literal>(token.at);
    node->value = value;
    return node;
  }
  auto* node = tree_.make<Name>(token.at);
  node->symbol = tree_.symbol(token.text);
  note_name(node->symbol);
  return node;
}

const Expr* ExpressionParser::string_literal() {
  auto* node = tree_.make<Literal>(current().at);
  std::string text;
  while (current().type == TokenType::kString) text += advance().text;  // neighbours are joined
  node->value = Value(std::make_shared<const Text>(std::move(text)));
  return node;
}

const Expr* ExpressionParser::number() {
  const Token& token = advance();
  auto* node = tree_.make<Literal>(token.at);
  const char* end = token.text.data() + token.text.size();
  if (token.type == TokenType::kFloat) {
    double real = 0;
    if (std::from_chars(token.text.data(), end, real).ec != std::errc())
      throw SyntaxError("number out of range", token.at);
    node->value = Value(real);
  } else {
    std::int64_t integer = 0;
    if (std::from_chars(token.text.data(), end, integer).ec != std::errc()) {
      throw SyntaxError("integer out of range; it must fit 64 bits", token.at);
    }
    node->value = Value(integer);
  }
  return node;
}

const Expr* ExpressionParser::parenthesized() {
  const std::size_t at = advance().at;
  const Expr* node;
  if (current().is_operator(")")) {
    auto* tuple = tree_.make<ListLiteral>(at);
    tuple->flavour = List::Flavour::kTuple;
    node = tuple;
  } else {
    node = expression_list();
  }
  expect_operator(")");
  return node;
}

const Expr* ExpressionParser::list_literal() {
  auto* node = tree_.make<ListLiteral>(advance().at);
  while (!current().is_operator("]")) {
    node->items.push_back(expression());
    if (!skip_operator(",")) break;
  }
  expect_operator("]");
  return node;
}

const Expr* ExpressionParser::dict_literal() {
  auto* node = tree_.make<DictLiteral>(advance().at);
  while (!current().is_operator("}")) {
    const Expr* key = expression();
    expect_operator(":");
    node->entries.emplace_back(key, expression());
    if (!skip_operator(",")) break;
  }
  expect_operator("}");
  return node;
}

const Expr* ExpressionParser::postfix(const Expr* node) {
  while (true) {
    if (current().is_operator(".") || current().is_operator("[")) {
      node = subscript(node);
    } else if (current().is_operator("(")) {
      node = call(node);
    } else {
      return node;
    }
  }
}

const Expr* ExpressionParser::filters(const Expr* node) {
  while (true) {
    if (current().is_operator("|")) {
      node = filter(node);
    } else if (current().is_name("is")) {
      node = test(node);
    } else if (current().is_operator("(")) {
      node = call(node);
    } else {
      return node;
    }
  }
}

const Expr* ExpressionParser::subscript(const Expr* object) {
  const std::size_t at = current().at;
  if (skip_operator(".")) {
    if (current().type == TokenType::kName) {
      auto* node = tree_.make<Attribute>(at);
      node->object = object;
      node->name = std::make_shared<const Text>(advance().text);
      return node;
    }
    if (current().type != TokenType::kInteger) fail_expected("a name or number behind '.'");
    auto* node = tree_.make<Subscript>(at);
    node->object = object;
    node->key = number();
    return node;
  }
  expect_operator("[");
  const Expr* key = current().is_operator(":") ? nullptr : expression_list();
  if (!current().is_operator(":")) {
    expect_operator("]");
    auto* node = tree_.make<Subscript>(at);
    node->object = object;
    node->key = key;
    return node;
  }
  auto* node = tree_.make<Slice>(at);
  node->object = object;
  node->start = key;
  const auto bound = [&]() -> const Expr* {
    if (!skip_operator(":") || current().is_operator(":") || current().is_operator("]")) return nullptr;
    return expression();
  };
  node->stop = bound();
  node->step = bound();
  expect_operator("]");
  return node;
}

const Expr* ExpressionParser::call(const Expr* callee) {
  auto* node = tree_.make<CallExpr>(current().at);
  node->callee = callee;
  node->arguments = call_arguments();
  return node;
}

CallArguments ExpressionParser::call_arguments() {
  CallArguments arguments;
  expect_operator("(");
  while (!current().is_operator(")")) {
    if (arguments.more_named) fail("nothing may follow '**' among the arguments");
    if (skip_operator("**")) {
      arguments.more_named = expression();
    } else if (current().is_operator("*") && !arguments.more_positional) {
      advance();
      arguments.more_positional = expression();
    } else if (current().type == TokenType::kName && ahead().is_operator("=")) {
      auto name = std::make_shared<const Text>(advance().text);
      advance();
      arguments.named.emplace_back(std::move(name), expression());
    } else {
      if (!arguments.named.empty() || arguments.more_positional) fail("a positional argument must precede named ones");
      arguments.positional.push_back(expression());
    }
    if (!skip_operator(",")) break;
  }
  expect_operator(")");
  return arguments;
}

const Filter* ExpressionParser::filter(const Expr* operand) {
  skip_operator("|");  // the first filter of a filter block has none
  auto* node = tree_.make<Filter>(current().at);
  node->operand = operand;
  node->name = expect_name("a filter's name behind '|'");
  node->builtin = find_filter(node->name);
  if (current().is_operator("(")) node->arguments = call_arguments();
  return node;
}

const Expr* ExpressionParser::test(const Expr* operand) {
  advance();
  auto* node = tree_.make<Test>(current().at);
  node->operand = operand;
  node->negated = skip_name("not");
  node->name = expect_name("a test's name behind 'is'");
  node->builtin = find_test(node->name);
  const Token& token = current();
  if (token.is_operator("(")) {
    node->arguments = call_arguments();
    return node;
  }
  const bool word =
      token.type == TokenType::kName && !token.is_name("else") && !token.is_name("or") && !token.is_name("and");
  if (token.is_name("is")) fail("tests cannot be chained with 'is'; join them by 'and'");
  if (word || token.type == TokenType::kString || token.type == TokenType::kInteger ||
      token.type == TokenType::kFloat || token.is_operator("[") || token.is_operator("{")) {
    // `x is defined if y`, `x is divisibleby 3`: a bare word that is no operator is the test's one argument.
    if (token.is_name("if") || token.is_name("in") || token.is_name("not")) return node;
    node->arguments.positional.push_back(postfix_expression());
  }
  return node;
}

}  // namespace nacelle::jinja
