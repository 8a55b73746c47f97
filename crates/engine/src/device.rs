//! The machine under the model.

use serde::Serialize;

/// A device that models can run on, or why it cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct DeviceInfo {
    /// `cpu` or `cuda:N`.
    pub id: String,
    /// The maker's name.
    pub name: String,
    /// Memory in bytes.
    pub total_bytes: u64,
    /// Memory that is free, in bytes.
    pub free_bytes: u64,
    /// Why it cannot be used.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// All devices, the usable ones first.
pub fn devices() -> Vec<DeviceInfo> {
    let mut system = sysinfo::System::new();
    system.refresh_cpu_list(sysinfo::CpuRefreshKind::nothing());
    let (total_bytes, free_bytes) = memory();
    let name = system.cpus().first().map(|cpu| cpu.brand().trim().to_owned()).unwrap_or_default();
    vec![DeviceInfo { id: "cpu".into(), name, total_bytes, free_bytes, reason: None }]
}

/// Bytes in all and free, within the limits of a container if there are any. What a container's page
/// cache holds can be given back, so only its programs count.
pub(crate) fn memory() -> (u64, u64) {
    let mut system = sysinfo::System::new();
    system.refresh_memory();
    let (total, free) = (system.total_memory(), system.available_memory());
    match system.cgroup_limits() {
        Some(limits) if limits.total_memory > 0 && limits.total_memory < total => {
            (limits.total_memory, free.min(limits.total_memory.saturating_sub(limits.rss)))
        }
        _ => (total, free),
    }
}

/// The most memory the process has had resident, in bytes; 0 where the system does not tell.
pub fn peak_resident_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let kib =
        status.lines().find_map(|line| line.strip_prefix("VmHWM:")?.trim().strip_suffix(" kB")?.parse::<u64>().ok());
    kib.unwrap_or(0) * 1024
}

/// Lets [`peak_resident_bytes`] start over from what is resident now. Where the system does not allow it, the peak
/// stays that of the process.
pub fn reset_peak() {
    // `5` is the request to forget the high-water mark; a refusal leaves a true number, only a larger one.
    drop(std::fs::write("/proc/self/clear_refs", "5"));
}
