//! skimlm-node
