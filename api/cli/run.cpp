// run: one answer, or a chat in the terminal.
#include <unistd.h>

#include <csignal>
#include <cstdio>
#include <iostream>
#include <string>

#include "api/cli/commands.hpp"
#include "api/cli/generate.hpp"
#include "api/cli/output.hpp"
#include "api/cli/setup.hpp"
#include "api/openai/prompt.hpp"
#include "core/base/log.hpp"

namespace nacelle::cli {
namespace {

volatile std::sig_atomic_t interrupted = 0;

GenerationRequest make_request(const RunOptions& options) {
  GenerationRequest request;
  request.id = "run";
  request.max_tokens = options.max_tokens;
  request.stop = options.stop;
  request.ignore_eos = options.ignore_eos;
  request.sampling.temperature = options.greedy ? 0.0f : options.temperature;
  request.sampling.top_k = options.top_k;
  request.sampling.top_p = options.top_p;
  request.sampling.min_p = options.min_p;
  request.sampling.repetition_penalty = options.repetition_penalty;
  request.sampling.seed = options.seed;
  return request;
}

Json message(const char* role, const std::string& content) { return {{"role", role}, {"content", content}}; }

Json first_messages(const RunOptions& options) {
  Json messages = Json::array();
  if (options.system) messages.push_back(message("system", *options.system));
  return messages;
}

// The prompt of a one-shot run: a chat of one turn, the text as it is, or BOS alone.
void set_prompt(const RunOptions& options, const Model& model, GenerationRequest& request) {
  if (!options.prompt) {
    if (!model.tokenizer().bos()) {
      throw Error(ErrorKind::kInvalidArgument, "the model has no BOS token to start from; give --prompt", "prompt");
    }
    request.prompt = {*model.tokenizer().bos()};
  } else if (options.raw || !model.chat_template()) {
    if (!options.raw) log::warning("{} has no chat template: the prompt goes on as text", model.name());
    request.prompt = openai::encode_text(model, *options.prompt);
    request.continues_text = true;
  } else {
    openai::ChatPrompt chat;
    chat.messages = first_messages(options);
    chat.messages.push_back(message("user", *options.prompt));
    request.prompt = openai::encode_chat(model, chat);
  }
}

void print_text(std::string_view text) {
  std::fwrite(text.data(), 1, text.size(), stdout);
  std::fflush(stdout);
}

int run_once(const RunOptions& options, Engine& engine) {
  GenerationRequest request = make_request(options);
  set_prompt(options, engine.model(), request);
  const std::vector<TokenId> prompt = request.prompt;
  if (!options.host.json) {
    generate(engine, std::move(request), print_text);
    print_text("\n");
    return 0;
  }
  const Generated result = generate(engine, std::move(request));
  Json placement = Json::array();
  for (const Placement& part : engine.model().placement()) {
    placement.push_back({{"device", part.device}, {"layers", part.layers}});
  }
  print_json({{"text", result.text},
              {"token_ids", result.ids},
              {"prompt_token_ids", prompt},
              {"finish_reason", to_string(result.finish)},
              {"placement", std::move(placement)}});
  return 0;
}

// Reads lines until the end of input. Ctrl-C stops an answer; at the prompt it ends the program.
int chat(const RunOptions& options, Engine& engine) {
  const bool terminal = isatty(STDIN_FILENO) == 1;
  if (terminal)
    std::fprintf(stderr, "%s: /clear begins anew, /exit ends, Ctrl-C stops an answer\n", engine.model().name().c_str());
  openai::ChatPrompt conversation;
  conversation.messages = first_messages(options);
  for (std::string line;;) {
    if (terminal) std::fputs("> ", stderr);
    if (!std::getline(std::cin, line) || line == "/exit") break;
    if (line.empty()) continue;
    if (line == "/clear") {
      conversation.messages = first_messages(options);
      continue;
    }
    conversation.messages.push_back(message("user", line));
    GenerationRequest request = make_request(options);
    request.prompt = openai::encode_chat(engine.model(), conversation);
    interrupted = 0;
    struct sigaction on_interrupt {
    }, before{};
    on_interrupt.sa_handler = [](int) { interrupted = 1; };
    sigaction(SIGINT, &on_interrupt, &before);
    const Generated answer = generate(engine, std::move(request), print_text, [] { return interrupted != 0; });
    sigaction(SIGINT, &before, nullptr);
    print_text("\n");
    conversation.messages.push_back(message("assistant", answer.text));
  }
  if (terminal) std::fputs("\n", stderr);
  return 0;
}

}  // namespace

int run_command(const RunOptions& options) {
  const auto host = make_host(options.host);
  Engine engine(load_model(*host, options.model, options.path));
  const bool one_shot = options.prompt || options.raw || !engine.model().chat_template();
  if (one_shot) return run_once(options, engine);
  if (options.host.json) {
    throw Error(ErrorKind::kInvalidArgument, "--json prints one answer: give --prompt, or --raw to start from BOS",
                "json");
  }
  return chat(options, engine);
}

}  // namespace nacelle::cli
