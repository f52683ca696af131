// The grammar of Jinja's statements: a table of tags, and one function for each.
#include "core/chat/parser.hpp"

#include <algorithm>

#include "core/chat/expression_parser.hpp"

namespace nacelle::jinja {

Symbol Tree::symbol(const std::string& name) {
  const auto [found, fresh] = symbols.try_emplace(name, static_cast<Symbol>(names.size()));
  if (fresh) names.push_back(std::make_shared<const Text>(name));
  return found->second;
}

namespace {

class Parser : ExpressionParser {
 public:
  Parser(std::string_view source, Tree& tree) : ExpressionParser(tokenize(source), tree) {}

  void run() { tree_.body = block({}, 0); }

 private:
  using Ends = std::initializer_list<std::string_view>;

  // Statements up to a tag whose first word is one of `ends`; that word is then the current token. The last of `ends`
  // is the tag that the error names when the block opened at byte `opened` has no end.
  Block block(Ends ends, std::size_t opened) {
    const Nesting nesting(*this);
    Block body;
    while (current().type != TokenType::kEnd) {
      const Token& token = advance();
      if (token.type == TokenType::kData) {
        auto* text = tree_.make<TextStmt>(token.at);
        text->text = token.text;
        body.push_back(text);
      } else if (token.type == TokenType::kVariableBegin) {
        auto* print = tree_.make<PrintStmt>(current().at);
        print->value = expression_list();
        if (current().type != TokenType::kVariableEnd) fail_expected("'}}'");
        advance();
        body.push_back(print);
      } else {
        if (std::any_of(ends.begin(), ends.end(), [&](auto end) { return current().is_name(end); })) return body;
        body.push_back(statement(token.at));
      }
    }
    if (ends.size() == 0) return body;
    throw SyntaxError("this tag has no end; expected '{% " + std::string(*(ends.end() - 1)) + " %}'", opened);
  }

  void end_tag() {
    if (current().type != TokenType::kBlockEnd) fail_expected("'%}'");
    advance();
  }

  // The body of a tag whose head was just parsed, its end tag included.
  Block body_until(std::string_view end, std::size_t opened) {
    end_tag();
    Block body = block({end}, opened);
    advance();
    end_tag();
    return body;
  }

  const Stmt* statement(std::size_t at) {
    struct Rule {
      std::string_view name;
      const Stmt* (Parser::*parse)(std::size_t at);
    };
    static constexpr Rule kRules[] = {{"if", &Parser::if_statement},
                                      {"for", &Parser::for_statement},
                                      {"set", &Parser::set_statement},
                                      {"macro", &Parser::macro_statement},
                                      {"call", &Parser::call_statement},
                                      {"filter", &Parser::filter_statement},
                                      {"with", &Parser::with_statement},
                                      {"do", &Parser::do_statement},
                                      {"break", &Parser::jump_statement},
                                      {"continue", &Parser::jump_statement},
                                      {"generation", &Parser::generation_statement}};
    static constexpr std::string_view kRefused[] = {"include", "extends", "import",     "from",
                                                    "block",   "trans",   "autoescape", "debug"};
    if (current().type != TokenType::kName) fail_expected("a statement's name behind '{%'");
    for (const Rule& rule : kRules) {
      if (!current().is_name(rule.name)) continue;
      if (rule.parse != &Parser::jump_statement) advance();
      return (this->*rule.parse)(at);
    }
    const std::string& name = current().text;
    if (std::find(std::begin(kRefused), std::end(kRefused), name) != std::end(kRefused)) {
      fail("'" + name + "' is not supported: a chat template must stand alone");
    }
    if (name.starts_with("end") || name == "else" || name == "elif")
      fail("'" + name + "' without the tag it belongs to");
    fail("unknown statement '" + name + "'; expected if, for, set, macro, call, filter, with, break or continue");
  }

  const Stmt* if_statement(std::size_t at) {
    auto* node = tree_.make<IfStmt>(at);
    while (true) {
      const Expr* test = expression_list();
      end_tag();
      node->branches.emplace_back(test, block({"elif", "else", "endif"}, at));
      if (skip_name("elif")) continue;
      if (skip_name("else")) {
        end_tag();
        node->branches.emplace_back(nullptr, block({"endif"}, at));
      }
      advance();
      end_tag();
      return node;
    }
  }

  const Stmt* for_statement(std::size_t at) {
    auto* node = tree_.make<ForStmt>(at);
    node->loop = tree_.symbol("loop");
    node->target = target(false);
    if (!skip_name("in")) fail_expected("'in'");
    node->iterable = expression_list(Condition::kExcluded);
    if (skip_name("if")) node->filter = expression();
    node->recursive = skip_name("recursive");
    end_tag();
    ++loops_;
    node->body = block({"else", "endfor"}, at);
    --loops_;
    if (skip_name("else")) {
      end_tag();
      node->otherwise = block({"endfor"}, at);
    }
    advance();
    end_tag();
    return node;
  }

  const Stmt* set_statement(std::size_t at) {
    const Target where = target(true);
    if (skip_operator("=")) {
      auto* node = tree_.make<SetStmt>(at);
      node->target = where;
      node->value = expression_list();
      end_tag();
      return node;
    }
    auto* node = tree_.make<SetBlockStmt>(at);
    node->target = where;
    while (current().is_operator("|")) node->filters.push_back(filter(nullptr));
    node->body = body_until("endset", at);
    return node;
  }

  const Stmt* with_statement(std::size_t at) {
    auto* node = tree_.make<WithStmt>(at);
    while (current().type != TokenType::kBlockEnd) {
      if (!node->bindings.empty()) expect_operator(",");
      const Target where = target(false);
      expect_operator("=");
      node->bindings.emplace_back(where, expression());
    }
    node->body = body_until("endwith", at);
    return node;
  }

  const Stmt* filter_statement(std::size_t at) {
    auto* node = tree_.make<FilterBlockStmt>(at);
    do {
      node->filters.push_back(filter(nullptr));
    } while (current().is_operator("|"));
    node->body = body_until("endfilter", at);
    return node;
  }

  const Stmt* do_statement(std::size_t at) {
    auto* node = tree_.make<DoStmt>(at);
    node->value = expression_list();
    end_tag();
    return node;
  }

  const Stmt* generation_statement(std::size_t at) {
    auto* node = tree_.make<GenerationStmt>(at);
    node->body = body_until("endgeneration", at);
    return node;
  }

  const Stmt* jump_statement(std::size_t at) {
    if (loops_ == 0) fail("'" + current().text + "' outside of a loop");
    auto* node = tree_.make<JumpStmt>(at);
    node->flow = advance().text == "break" ? Flow::kBreak : Flow::kContinue;
    end_tag();
    return node;
  }

  const Stmt* macro_statement(std::size_t at) {
    auto* node = tree_.make<MacroStmt>(at);
    node->macro.name = expect_name("the macro's name");
    node->symbol = tree_.symbol(node->macro.name);
    if (!current().is_operator("(")) fail_expected("'(' and the macro's parameters");
    parameters(node->macro);
    macro_body(node->macro, "endmacro", at);
    return node;
  }

  const Stmt* call_statement(std::size_t at) {
    auto* node = tree_.make<CallStmt>(at);
    node->macro.name = "caller";
    if (current().is_operator("(")) parameters(node->macro);
    node->call = dynamic_cast<const CallExpr*>(expression());
    if (!node->call) throw SyntaxError("expected a call such as 'name(...)' behind 'call'", at);
    macro_body(node->macro, "endcall", at);
    return node;
  }

  void parameters(MacroBody& macro) {
    expect_operator("(");
    while (!current().is_operator(")")) {
      const Symbol name = tree_.symbol(expect_name("a parameter's name"));
      const Expr* fallback = skip_operator("=") ? expression() : nullptr;
      if (!fallback && !macro.parameters.empty() && macro.parameters.back().second) {
        fail("a parameter without a default may not follow one that has a default");
      }
      macro.parameters.emplace_back(name, fallback);
      if (!skip_operator(",")) break;
    }
    expect_operator(")");
  }

  void macro_body(MacroBody& macro, std::string_view end, std::size_t at) {
    macro.caller = tree_.symbol("caller");
    macro.varargs = tree_.symbol("varargs");
    macro.kwargs = tree_.symbol("kwargs");
    MacroBody* const outer = std::exchange(macro_, &macro);
    const int outer_loops = std::exchange(loops_, 0);
    macro.body = body_until(end, at);
    loops_ = outer_loops;
    macro_ = outer;
  }

  // A macro takes extra arguments only where its body reads the variable that holds them.
  void note_name(Symbol symbol) override {
    if (!macro_) return;
    macro_->uses_caller |= symbol == macro_->caller;
    macro_->uses_varargs |= symbol == macro_->varargs;
    macro_->uses_kwargs |= symbol == macro_->kwargs;
  }

  // "a", "a, b", "(a, b)" and, where `attributes` says so, "namespace.a".
  Target target(bool attributes) {
    Target first = single_target(attributes);
    if (!current().is_operator(",")) return first;
    Target tuple;
    tuple.parts.push_back(std::move(first));
    while (skip_operator(",")) {
      if (current().type != TokenType::kName && !current().is_operator("(")) break;
      if (current().is_name("in")) break;
      tuple.parts.push_back(single_target(attributes));
    }
    return tuple;
  }

  Target single_target(bool attributes) {
    if (skip_operator("(")) {
      const Nesting nesting(*this);
      Target inner = target(attributes);
      expect_operator(")");
      return inner;
    }
    static constexpr std::string_view kConstants[] = {"true", "false", "none", "True", "False", "None"};
    for (auto name : kConstants) {
      if (current().is_name(name)) fail("'" + std::string(name) + "' cannot be assigned to");
    }
    Target single;
    single.symbol = tree_.symbol(expect_name("the name of a variable"));
    if (attributes && skip_operator(".")) {
      single.attribute = std::make_shared<const Text>(expect_name("a namespace's attribute"));
    }
    return single;
  }

  MacroBody* macro_ = nullptr;  // the innermost macro being parsed
  int loops_ = 0;               // loops around the current statement, within that macro
};

}  // namespace

Tree parse(std::string_view source) {
  Tree tree;
  Parser(source, tree).run();
  return tree;
}

}  // namespace nacelle::jinja
