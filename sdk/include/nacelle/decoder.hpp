// What most decoder-only language models share, for architecture authors. Header-only.
//   decoder_model.hpp    Decoder: what such a model is, as data, with Llama's values as defaults
//   decoder_config.hpp   read_gguf_decoder, read_huggingface_decoder: a Decoder from a model's configuration
//   decoder_graph.hpp    DecoderGraph: a Decoder's graph
// A family that is a Decoder and nothing more has two functions, and takes the rest from DecoderFamily:
//   struct Family : DecoderFamily<Family> {
//     static bool match(const Config&);    // is this model mine?
//     static Decoder read(const Config&);  // throws Failure that names the key at fault
//   };
//   NACELLE_ARCHITECTURE_PLUGIN(Family, "family", "1.0")
#pragma once

#include <nacelle/decoder_config.hpp>
#include <nacelle/decoder_graph.hpp>
#include <nacelle/decoder_model.hpp>

namespace nacelle::sdk {

template <class Family>
struct DecoderFamily {
  static nacelle_model_description describe(const Config& config) { return describe_decoder(Family::read(config)); }
  static void build(const Config& config, Builder& builder) {
    const Decoder model = Family::read(config);
    DecoderGraph(builder, model).build();
  }
};

}  // namespace nacelle::sdk
