use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::{Relaxed, SeqCst};

use super::{Threads, each, each_of, try_each_of};

#[test]
fn every_task_is_done_once_however_many_threads() {
    for count in [0, 1, 2, 3, 8] {
        let threads = Threads::new(count).unwrap();
        threads.install(|| {
            assert_eq!(super::count(), count.max(1));
            for tasks in [0, 1, 2, 7, 1000] {
                for _ in 0..50 {
                    let done: Vec<AtomicUsize> = (0..tasks).map(|_| AtomicUsize::new(0)).collect();
                    each(true, tasks, |i| {
                        done[i].fetch_add(1, Relaxed);
                    });
                    assert!(done.iter().all(|n| n.load(Relaxed) == 1));
                }
            }
        });
    }
}

#[test]
fn items_go_to_one_task_each_and_results_are_there_afterwards() {
    let mut numbers: Vec<usize> = vec![0; 10_000];
    let threads = Threads::new(4).unwrap();
    threads.install(|| each_of(true, numbers.chunks_mut(7).enumerate(), |(i, chunk)| chunk.fill(i)));
    assert!(numbers.iter().enumerate().all(|(at, &n)| n == at / 7));
}

#[test]
fn a_panic_or_an_error_in_any_task_arrives_and_the_threads_live_on() {
    let threads = Threads::new(3).unwrap();
    threads.install(|| {
        for bad in 0..40 {
            let panicking = || each(true, 40, |i| assert_ne!(i, bad, "this one"));
            assert!(catch_unwind(AssertUnwindSafe(panicking)).is_err());
            assert_eq!(try_each_of(true, 0..40, |i| if i == bad { Err(i) } else { Ok(()) }), Err(bad));
        }
        assert_eq!(try_each_of(true, 0..40, |_| Ok::<(), ()>(())), Ok(()));
    });
}

#[test]
fn a_panic_of_another_thread_arrives_while_the_caller_unwinds() {
    struct Late<'a>(&'a Threads, &'a AtomicUsize);
    impl Drop for Late<'_> {
        fn drop(&mut self) {
            let (here, both) = (std::thread::current().id(), std::sync::Barrier::new(2));
            let one_panics = || {
                each(true, 2, |_| {
                    both.wait();
                    assert_eq!(std::thread::current().id(), here, "this one");
                });
            };
            let Self(threads, told) = self;
            told.fetch_add(catch_unwind(AssertUnwindSafe(|| threads.install(one_panics))).is_err().into(), Relaxed);
        }
    }
    let (threads, told) = (Threads::new(2).unwrap(), AtomicUsize::new(0));
    let unwinding = || {
        let _late = Late(&threads, &told);
        panic!("the first one");
    };
    assert!(catch_unwind(AssertUnwindSafe(unwinding)).is_err());
    assert_eq!(told.into_inner(), 1);
}

#[test]
fn a_region_inside_a_region_and_one_beside_it_run_where_they_are() {
    let threads = Threads::new(2).unwrap();
    let done = AtomicUsize::new(0);
    let inner = || {
        let outer = std::thread::current().id();
        each(true, 20, |_| {
            assert_eq!(std::thread::current().id(), outer);
            done.fetch_add(1, Relaxed);
        });
    };
    // Both threads have one of the two tasks.
    let both = std::sync::Barrier::new(2);
    threads.install(|| {
        each(true, 2, |_| {
            both.wait();
            assert_eq!(super::count(), 2);
            inner();
        });
    });
    assert_eq!(done.swap(0, Relaxed), 40);
    // Of two callers one finds the region taken, and may open one of its own once the other's has ended.
    let count = |_| {
        done.fetch_add(1, Relaxed);
    };
    let nested = || threads.install(|| each(true, 20, |_| each(true, 20, count)));
    std::thread::scope(|scope| {
        scope.spawn(nested);
        scope.spawn(nested);
    });
    assert_eq!(done.into_inner(), 800);
}

#[test]
fn threads_come_and_go_and_wake_from_sleep() {
    for _ in 0..50 {
        let threads = Threads::new(2).unwrap();
        let done = AtomicUsize::new(0);
        threads.install(|| {
            each(true, 9, |_| {
                done.fetch_add(1, Relaxed);
            });
        });
        assert_eq!(done.into_inner(), 9);
    }
    let threads = Threads::new(2).unwrap();
    while threads.shared.asleep.load(SeqCst) == 0 {
        std::thread::yield_now();
    }
    // The caller's task waits for the other thread's, which must therefore wake up.
    let (both, leaders) = (std::sync::Barrier::new(2), AtomicUsize::new(0));
    threads.install(|| {
        each(true, 2, |_| {
            leaders.fetch_add(both.wait().is_leader().into(), Relaxed);
        });
    });
    assert_eq!(leaders.into_inner(), 1);
}
