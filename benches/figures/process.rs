//! What the kernel says of a process.

use std::fs;

/// A figure of `/proc/PID/FILE`, where each line is `name: value ...`.
fn figure(pid: u32, file: &str, name: &str) -> u64 {
    let path = format!("/proc/{pid}/{file}");
    let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
    text.lines()
        .filter_map(|line| line.split_once(':'))
        .find(|(found, _)| *found == name)
        .and_then(|(_, value)| value.split_whitespace().next()?.parse().ok())
        .unwrap_or_else(|| panic!("{path} has no {name}"))
}

/// Bytes it has had written to the device.
pub(crate) fn device_bytes(pid: u32) -> u64 {
    figure(pid, "io", "write_bytes")
}

/// Resident memory in KiB, without what is shared with other processes through files.
pub(crate) fn resident_kib(pid: u32) -> u64 {
    figure(pid, "status", "VmRSS")
}

/// The part of it that is the process's own.
pub(crate) fn anonymous_kib(pid: u32) -> u64 {
    figure(pid, "status", "RssAnon")
}

/// Times that any of its threads has gone to sleep of its own accord.
pub(crate) fn wakeups(pid: u32) -> u64 {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).unwrap();
    tasks
        .map(|task| {
            let task = task.unwrap().file_name();
            let path = format!("{pid}/task/{}", task.to_str().unwrap());
            let text = fs::read_to_string(format!("/proc/{path}/status")).unwrap();
            text.lines()
                .filter_map(|line| line.strip_prefix("voluntary_ctxt_switches:"))
                .filter_map(|count| count.trim().parse::<u64>().ok())
                .sum::<u64>()
        })
        .sum()
}

/// Seconds of processor time of all its threads.
pub(crate) fn cpu_seconds(pid: u32) -> f64 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    // The name, in parentheses, may hold spaces.
    let fields: Vec<&str> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
    let ticks: f64 = fields[11].parse::<f64>().unwrap() + fields[12].parse::<f64>().unwrap();
    ticks / rustix::param::clock_ticks_per_second() as f64
}
