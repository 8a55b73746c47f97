use super::{argmax, inspect, open, walk};
use crate::Source;
use crate::testing::default_model;

#[test]
fn the_header_of_the_default_model() {
    let Some(path) = default_model() else { return };
    let info = inspect(&path).unwrap();
    assert_eq!((info.architecture.as_str(), info.layers, info.hidden_size), ("llama", 30, 576));
    assert_eq!((info.heads, info.kv_heads, info.head_dim), (9, 3, 64));
    assert_eq!((info.vocab_size, info.max_positions, info.default_filter_layer), (49152, 8192, 15));
    assert_eq!((info.quantization.as_deref(), info.parameters), (Some("Q4_1"), 134_515_008));
    let count = |kind: &str| info.tensor_types.iter().find(|of| of.kind == kind).map(|of| of.tensors);
    assert_eq!((count("Q4_1"), count("Q8_0"), count("F32")), (Some(210), Some(1), Some(61)));
    assert!(info.tensor_types.iter().all(|of| of.supported));
    assert!(info.chat_template.is_some_and(|template| template.contains("<|im_start|>")));
}

#[test]
fn the_default_model_knows_the_capital_of_france() {
    let Some(path) = default_model() else { return };
    let opened = open(&path).unwrap();
    let config = opened.model.config();
    assert_eq!((config.rotaries[0].base, config.eps, config.tied_head), (100_000.0, 1e-5, true));
    assert!(!config.qkv_bias && !config.qk_norm && config.layers.iter().all(|layer| layer.window.is_none()));
    let Source::Gguf(gguf) = &opened.source else { panic!("a GGUF file") };
    let tokens = gguf.strings("tokenizer.ggml.tokens").unwrap().unwrap();
    let words = ["The", "Ġcapital", "Ġof", "ĠFrance", "Ġis"];
    let ids: Vec<u32> = words.iter().map(|w| tokens.iter().position(|t| t == w).unwrap() as u32).collect();
    let (logits, outputs) = walk(&opened.model, &ids);
    assert_eq!(tokens[argmax(&logits)], "ĠParis");
    for (layer, x) in outputs.iter().enumerate() {
        let values = x.flatten_all().unwrap().to_vec1::<f32>().unwrap();
        assert!(values.iter().all(|v| v.is_finite() && v.abs() < 1e5), "layer {layer}");
    }
}
