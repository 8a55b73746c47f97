//! skimlm-models
