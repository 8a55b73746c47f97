//! skimlm-engine
