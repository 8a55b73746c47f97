//! skimlm-policies
