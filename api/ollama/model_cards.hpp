// What Ollama's routes say of the models that are served, and how its clients name them.
#pragma once

#include <string>

#include "api/fields/json.hpp"
#include "api/openai/served_models.hpp"

namespace nacelle::ollama {

// The model of that name, also with a ":latest" behind it, as Ollama's clients add one. Throws as ServedModels::find().
openai::ServedModelPtr find_model(const openai::ServedModels& models, const std::string& name);

fields::Json list_models(const openai::ServedModels& models);   // GET /api/tags
fields::Json list_running(const openai::ServedModels& models);  // GET /api/ps
// POST /api/show; `verbose`: with all tokens and tensors.
fields::Json show_model(const openai::ServedModel& model, bool verbose);

}  // namespace nacelle::ollama
