//! What sliding windows forbid. A layer with a window says nothing about tokens outside it, and an
//! entry outside it is never read again.

use skimlm_core::{Code, Error, Result, Shape};

/// Refuses to let `layer` choose among all tokens where it sees only the last few of them.
pub(crate) fn check_layer(kind: &str, layer: usize, shape: &Shape) -> Result<()> {
    let Some(window) = shape.layers.get(layer).and_then(|l| l.window) else {
        return Ok(());
    };
    let global: Vec<usize> = (0..shape.layers.len().saturating_sub(1)).filter(|&l| sees_all(shape, l)).collect();
    let advice = match global.as_slice() {
        [] => "No layer of this model sees further: use a policy of `info.supportedPolicies`.".to_owned(),
        layers => {
            let names: Vec<_> = layers.iter().map(usize::to_string).collect();
            format!("Choose at a layer that sees everything: {}.", names.join(", "))
        }
    };
    let message = format!("`{kind}` chooses at layer {layer}, which sees the last {window} positions only. {advice}");
    Err(Error::new(Code::PolicyUnsupported, message)
        .with("policy", kind)
        .with("layer", layer)
        .with("window", window)
        .with("layers", global))
}

/// Refuses models with windows: `why` says what goes wrong on them.
pub(crate) fn check_none(kind: &str, shape: &Shape, why: &str) -> Result<()> {
    let Some((layer, window)) = shape.layers.iter().enumerate().find_map(|(i, l)| Some((i, l.window?))) else {
        return Ok(());
    };
    let message = format!(
        "`{kind}` cannot be right where layers see a sliding window (layer {layer}: {window} positions): {why}. \
         Use one of `info.supportedPolicies`."
    );
    Err(Error::new(Code::PolicyUnsupported, message).with("policy", kind).with("layer", layer).with("window", window))
}

fn sees_all(shape: &Shape, layer: usize) -> bool {
    shape.layers.get(layer).is_some_and(|l| l.window.is_none())
}

#[cfg(test)]
mod tests {
    use crate::registry::{self, Context};
    use crate::{GemFilter, PolicySpec, testing};
    use serde_json::json;
    use skimlm_core::{Code, LayerShape, Shape};

    fn shape(windows: &[Option<u32>]) -> Shape {
        testing::shape(windows.iter().map(|&window| LayerShape { window, rotary: 0 }).collect())
    }

    fn answer(policy: serde_json::Value, shape: &Shape, forced: Option<&[u32]>) -> Option<(Code, String)> {
        let context = Context { forced, ..Context::new(shape, 1) };
        let error = PolicySpec::parse(&policy).unwrap().check(&context).err()?;
        Some((error.code, error.message))
    }

    #[test]
    fn a_layer_with_a_window_does_not_choose() {
        let shape = shape(&[Some(8), None, Some(8), None, Some(8)]);
        for (policy, refused) in [
            (json!({ "kind": "gemfilter" }), false),
            (json!({ "kind": "gemfilter", "layer": 2 }), true),
            (json!({ "kind": "gemfilter", "layer": 3, "score": { "heads": [{ "layer": 2, "head": 0 }] } }), true),
            (json!({ "kind": "promptdistill", "stages": [{ "layer": 3, "budget": 4 }] }), false),
            (
                json!({ "kind": "promptdistill", "stages": [{ "layer": 1, "budget": 8 }, { "layer": 2, "budget": 4 }] }),
                true,
            ),
        ] {
            let answer = answer(policy.clone(), &shape, None);
            assert_eq!(answer.is_some(), refused, "{policy} {answer:?}");
            if let Some((code, message)) = answer {
                assert_eq!(code, Code::PolicyUnsupported);
                assert!(message.contains("sees everything: 1, 3."), "{message}");
            }
        }
    }

    #[test]
    fn what_is_given_needs_no_layer() {
        let all = shape(&[Some(8); 4]);
        assert!(answer(json!({ "kind": "gemfilter" }), &all, None).is_some());
        assert_eq!(answer(json!({ "kind": "gemfilter" }), &all, Some(&[1, 2])), None);
        assert_eq!(answer(json!({ "kind": "promptdistill" }), &all, Some(&[1, 2])), None);
    }

    #[test]
    fn entries_that_no_row_will_see_are_not_kept_for_old_merits() {
        let all = shape(&[None, Some(8), None]);
        for kind in ["h2o", "knorm", "keydiff"] {
            let (code, message) = answer(json!({ "kind": kind }), &all, None).unwrap();
            assert_eq!(code, Code::PolicyUnsupported);
            assert!(message.contains("layer 1: 8 positions"), "{message}");
        }
    }

    #[test]
    fn a_model_lists_what_it_supports() {
        let kinds =
            |windows: &[Option<u32>], default_layer| registry::supported(&Context::new(&shape(windows), default_layer));
        assert_eq!(kinds(&[None; 4], 1), registry::kinds());
        let mixed = kinds(&[Some(8), None, Some(8), None], 1);
        assert!(mixed.contains(&<GemFilter as crate::Method>::KIND) && !mixed.contains(&"h2o"), "{mixed:?}");
        let all = kinds(&[Some(8); 4], 1);
        assert!(!all.contains(&"gemfilter") && !all.contains(&"promptdistill") && all.contains(&"snapkv"), "{all:?}");
    }
}
