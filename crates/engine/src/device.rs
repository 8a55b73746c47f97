//! The machine under the model.

use candle_core::{DType, Device};
use serde::Serialize;
use skimlm_core::{Code, Error, Result};
use skimlm_kernels::Error as KernelError;
use skimlm_kernels::cached::Q8_0;
use skimlm_kernels::device::{self, GpuInfo};

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

/// All devices, the usable ones first and GPUs before the CPU. `no_gpus` is why a build for the CPU runs, where the
/// caller knows more of it than the build.
pub fn devices(no_gpus: Option<&str>) -> Vec<DeviceInfo> {
    let refused = |why: String| vec![DeviceInfo::refused(no_gpus.map_or(why, str::to_owned))];
    let gpus = device::gpus().map_or_else(refused, |all| all.into_iter().map(DeviceInfo::from).collect());
    let (usable, refused): (Vec<_>, Vec<_>) = gpus.into_iter().partition(|gpu| gpu.reason.is_none());
    usable.into_iter().chain([processor()]).chain(refused).collect()
}

impl DeviceInfo {
    /// No GPU at all, with the reason.
    fn refused(why: String) -> Self {
        Self { id: "cuda".into(), name: "CUDA".into(), total_bytes: 0, free_bytes: 0, reason: Some(why) }
    }
}

impl From<GpuInfo> for DeviceInfo {
    fn from(gpu: GpuInfo) -> Self {
        let GpuInfo { index, name, total_bytes, free_bytes, reason } = gpu;
        Self { id: format!("cuda:{index}"), name, total_bytes, free_bytes, reason }
    }
}

/// Opens `auto`, `cpu`, `cuda` (the first GPU that can be used) or `cuda:N`. `auto`, and none, is the first GPU that
/// can be used, else the CPU: nobody asked for a GPU, so one that cannot be had is no failure.
///
/// `ERR_INVALID_ARG` for another id, `ERR_DEVICE` with `{ device, reason, usable }` where there is none to be had.
pub(crate) fn open(id: Option<&str>, no_gpus: Option<&str>) -> Result<(DeviceInfo, Device)> {
    let id = known(id)?;
    choose(id, devices(no_gpus), open_listed)
}

/// Refuses what [`open`] would refuse without opening anything.
pub(crate) fn check(id: Option<&str>, no_gpus: Option<&str>) -> Result<()> {
    let id = known(id)?;
    choose(id, devices(no_gpus), |_| Ok(())).map(drop)
}

fn known(id: Option<&str>) -> Result<&str> {
    let id = id.unwrap_or("auto");
    let number = id.strip_prefix("cuda:");
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|digit| digit.is_ascii_digit());
    if matches!(id, "auto" | "cpu" | "cuda") || number.is_some_and(is_number) {
        return Ok(id);
    }
    Err(Error::invalid_option("device", id, "auto, cpu, cuda or cuda:N"))
}

/// The first of the listed devices that an id means, that can be used and that opens.
fn choose<T>(
    id: &str,
    mut all: Vec<DeviceInfo>,
    open: impl Fn(&str) -> std::result::Result<T, String>,
) -> Result<(DeviceInfo, T)> {
    let means = |of: &str| id == "auto" || of == id || (id == "cuda" && of.starts_with("cuda"));
    for device in all.iter_mut().filter(|device| device.reason.is_none() && means(&device.id)) {
        match open(&device.id) {
            Ok(opened) => return Ok((device.clone(), opened)),
            Err(why) => device.reason = Some(why),
        }
    }
    // Where there are no GPUs at all, they are listed as `cuda`.
    let meant = all.iter().find(|device| means(&device.id) || device.id == "cuda");
    let reason = meant.and_then(|device| device.reason.clone()).unwrap_or_else(|| "There is no such device.".into());
    let usable: Vec<String> = all.into_iter().filter(|of| of.reason.is_none()).map(|of| of.id).collect();
    let message = format!("The device {id} cannot be used: {reason} Use {}.", usable.join(" or "));
    Err(Error::new(Code::Device, message).with("device", id).with("reason", reason).with("usable", usable))
}

fn open_listed(id: &str) -> std::result::Result<Device, String> {
    let Some(index) = id.strip_prefix("cuda:").and_then(|index| index.parse().ok()) else {
        return Ok(Device::Cpu);
    };
    device::open(index).map_err(|error| match error {
        KernelError::Device { why, .. } => why,
        other => format!("It does not open: {other}."),
    })
}

/// Refuses a type of cache entries that the device has no kernels for; `option` is what brought it.
pub(crate) fn check_entries(device: &Device, dtype: DType, option: &str) -> Result<()> {
    if dtype != Q8_0 || device.is_cpu() {
        return Ok(());
    }
    let message = format!("`{option}` means 8-bit entries, which no GPU kernel reads. Use the device `cpu`.");
    Err(Error::new(Code::InvalidArg, message).with("option", option).with("value", "q8_0"))
}

/// Bytes that are free where a model runs; none where the system does not tell.
pub(crate) fn free(device: &Device) -> Option<u64> {
    device::memory(device).map_or_else(free_of_system, |(_, free)| Some(free))
}

/// Bytes of main memory that are free; none where the system does not tell.
pub(crate) fn free_of_system() -> Option<u64> {
    told(memory())
}

/// A machine has some memory, however little of it is free.
fn told((total, free): (u64, u64)) -> Option<u64> {
    (total > 0).then_some(free)
}

/// The most bytes that have been taken where a model runs: by tensors on a GPU, by the process on the CPU; 0 where the
/// system does not tell.
pub fn peak_bytes(device: &Device) -> u64 {
    device::peak(device).unwrap_or_else(peak_resident_bytes)
}

fn processor() -> DeviceInfo {
    let mut system = sysinfo::System::new();
    system.refresh_cpu_list(sysinfo::CpuRefreshKind::nothing());
    let (total_bytes, free_bytes) = memory();
    let name = system.cpus().first().map(|cpu| cpu.brand().trim().to_owned()).unwrap_or_default();
    DeviceInfo { id: "cpu".into(), name, total_bytes, free_bytes, reason: None }
}

/// Bytes in all and free, within the limits of a container if there are any. What a container's page
/// cache holds can be given back, so only its programs count.
fn memory() -> (u64, u64) {
    let mut system = sysinfo::System::new();
    system.refresh_memory();
    let limits = system.cgroup_limits().map(|limits| (limits.total_memory, limits.rss));
    within(limits, system.total_memory(), system.available_memory())
}

/// The lesser of a machine's total and free memory and of what a container allows its programs and they have taken.
fn within(container: Option<(u64, u64)>, total: u64, free: u64) -> (u64, u64) {
    match container {
        // 0: no limit.
        Some((most, taken)) if most > 0 && most < total => (most, free.min(most.saturating_sub(taken))),
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

/// Lets [`peak_bytes`] start over from what is taken now: on a GPU by tensors, on the CPU by the process. Where the
/// system does not allow it, the peak stays that of the process.
pub fn reset_peak(device: &Device) {
    device::reset_peak(device);
    if !device.is_cpu() {
        return;
    }
    // `5` is the request to forget the high-water mark; a refusal leaves a true number, only a larger one.
    drop(std::fs::write("/proc/self/clear_refs", "5"));
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two GPUs that can be used, the CPU, and a GPU that cannot.
    fn listed() -> Vec<DeviceInfo> {
        let of = |id: &str, reason: Option<&str>| DeviceInfo {
            id: id.into(),
            name: String::new(),
            total_bytes: 1,
            free_bytes: 1,
            reason: reason.map(str::to_owned),
        };
        vec![of("cuda:0", None), of("cuda:2", None), of("cpu", None), of("cuda:1", Some("It is old."))]
    }

    #[test]
    fn a_device_opens_or_says_why_not() {
        let (info, device) = open(Some("cpu"), None).unwrap();
        assert!(device.is_cpu() && info.id == "cpu");
        for id in ["gpu", "cuda:", "cuda:x", "cuda:-1", "cuda:+1", ""] {
            assert_eq!(open(Some(id), None).unwrap_err().code, Code::InvalidArg, "{id}");
            assert_eq!(check(Some(id), None).unwrap_err().code, Code::InvalidArg, "{id}");
        }
        for error in [open(Some("cuda:4095"), None).unwrap_err(), check(Some("cuda:4095"), None).unwrap_err()] {
            assert_eq!((error.code, &error.details["device"]), (Code::Device, &"cuda:4095".into()));
            assert!(error.details["reason"].as_str().is_some_and(|why| error.message.contains(why)));
            assert!(error.details["usable"].as_array().is_some_and(|usable| usable.contains(&"cpu".into())));
        }
    }

    #[test]
    fn a_gpu_that_does_not_open_is_a_failure_only_where_it_was_asked_for() {
        // What opens, what is asked for, and what is had or why not.
        for (opens, id, expected) in [
            (&["cuda:0", "cuda:2", "cpu"][..], "auto", Ok("cuda:0")),
            (&["cuda:2", "cpu"], "auto", Ok("cuda:2")),
            (&["cpu"], "auto", Ok("cpu")),
            (&["cuda:2", "cpu"], "cuda", Ok("cuda:2")),
            (&["cuda:0", "cuda:2", "cpu"], "cuda:2", Ok("cuda:2")),
            (&["cpu"], "cuda", Err(("It is in use.", vec!["cpu"]))),
            (&["cpu"], "cuda:0", Err(("It is in use.", vec!["cuda:2", "cpu"]))),
            (&["cpu"], "cuda:1", Err(("It is old.", vec!["cuda:0", "cuda:2", "cpu"]))),
            (&["cpu"], "cuda:7", Err(("There is no such device.", vec!["cuda:0", "cuda:2", "cpu"]))),
        ] {
            let open = |id: &str| if opens.contains(&id) { Ok(()) } else { Err("It is in use.".to_owned()) };
            let chosen = choose(id, listed(), open).map(|(device, ())| device.id);
            let expected = expected.map(str::to_owned).map_err(|(why, usable)| (why.into(), usable.into()));
            let told = |error: Error| (error.details["reason"].clone(), error.details["usable"].clone());
            assert_eq!(chosen.map_err(told), expected, "{id} where {opens:?} open");
        }
    }

    #[test]
    fn without_gpus_the_reason_is_the_best_known_one() {
        if device::gpus().is_ok() {
            skimlm_kernels::skipped!("this build lists GPUs");
            return;
        }
        for id in ["cuda", "cuda:0"] {
            let error = open(Some(id), Some("The driver is absent.")).unwrap_err();
            let message = format!("The device {id} cannot be used: The driver is absent. Use cpu.");
            assert_eq!((error.code, error.message), (Code::Device, message));
        }
        assert_eq!(devices(Some("The driver is absent."))[1].reason.as_deref(), Some("The driver is absent."));
        assert!(devices(None)[1].reason.is_some());
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn the_peak_is_that_since_it_was_reset() {
        const TOUCHED: u64 = 256 << 20;
        drop(std::hint::black_box(vec![1u8; TOUCHED as usize]));
        let peak = peak_resident_bytes();
        assert!((TOUCHED..memory().0).contains(&peak), "{peak}");
        // A request without an effect on the peak.
        if std::fs::write("/proc/self/clear_refs", "1").is_err() {
            skimlm_kernels::skipped!("this system forgets no peak");
            return;
        }
        reset_peak(&Device::Cpu);
        assert!(peak_bytes(&Device::Cpu) < peak - TOUCHED / 2);
    }

    #[test]
    fn a_container_makes_memory_smaller_and_never_larger() {
        for (container, expected) in [
            (None, (100, 60)),
            (Some((80, 30)), (80, 50)),
            (Some((80, 10)), (80, 60)),
            (Some((80, 90)), (80, 0)),
            (Some((1, 0)), (1, 1)),
            (Some((0, 30)), (100, 60)),
            // What the system reports where nothing is limited.
            (Some((100, 90)), (100, 60)),
            (Some((200, 190)), (100, 60)),
        ] {
            assert_eq!(within(container, 100, 60), expected, "{container:?}");
        }
    }

    #[test]
    fn nothing_free_is_not_nothing_told() {
        assert_eq!((told((80, 0)), told((80, 50)), told((0, 0))), (Some(0), Some(50), None));
    }

    #[test]
    fn the_first_device_is_the_one_that_auto_opens() {
        let all = devices(None);
        let cpu = all.iter().position(|device| device.id == "cpu").unwrap();
        assert!(all[..=cpu].iter().all(|device| device.reason.is_none()));
        assert!(all[cpu + 1..].iter().all(|device| device.reason.is_some()));
        assert_eq!(open(None, None).unwrap().0.id, all[0].id);
    }
}
