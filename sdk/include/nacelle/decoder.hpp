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
// One with more to say, or a graph of its own, names that and reads what its constructor takes beside the builder: a
// struct whose `decoder` is the Decoder.
//   struct Model { Decoder decoder; std::uint32_t length; };
//   class Graph : public DecoderGraph { public: Graph(Builder&, const Model&); ... };
//   struct Family : DecoderFamily<Family, Graph> { ... static Model read(const Config&); };
#pragma once

#include <nacelle/decoder_config.hpp>
#include <nacelle/decoder_graph.hpp>
#include <nacelle/decoder_model.hpp>

namespace nacelle::sdk {

inline const Decoder& decoder_of(const Decoder& model) { return model; }
template <class Model>
const Decoder& decoder_of(const Model& model) {
  return model.decoder;
}

template <class Family, class Graph = DecoderGraph>
struct DecoderFamily {
  static nacelle_model_description describe(const Config& config) {
    return describe_decoder(decoder_of(Family::read(config)));
  }
  static void build(const Config& config, Builder& builder) {
    const auto model = Family::read(config);
    Graph(builder, model).build();
  }
};

}  // namespace nacelle::sdk
