//! Many rooms: projects with orders, tasks and notes.
//!
//! Connection *n* belongs to project *n* mod 100 and is its member *n* div 100. Its hundred
//! subscriptions are
//!
//! - the tasks of its project, with a `*` in the subscription: heard by all members;
//! - one note of its project, whose triggers have a `*` for the project: heard by every tenth
//!   member of every project;
//! - 98 orders of its project: each heard by every tenth member.
//!
//! With 10,000 connections these are a million subscriptions in 99,100 rooms.

/// Subscriptions of a connection.
pub(super) const SUBSCRIPTIONS: u32 = 100;
const PROJECTS: u32 = 100;
/// Members whose numbers are equal modulo this have the same orders and the same note.
const GROUPS: u32 = 10;
const ORDERS: u32 = SUBSCRIPTIONS - FIRST_ORDER;

const TASKS: u32 = 0;
const NOTE: u32 = 1;
const FIRST_ORDER: u32 = 2;

/// Targets begin with the projects' tasks, then come the notes, then the orders.
const NOTES_AT: u32 = PROJECTS;
const ORDERS_AT: u32 = NOTES_AT + GROUPS;
pub(super) const TARGETS: usize = (ORDERS_AT + PROJECTS * GROUPS * ORDERS) as usize;

/// In so many triggers one is for a note, and [`TASK_TURNS`] are for tasks.
pub(super) const TURNS: u64 = 20;
const TASK_TURNS: u64 = 2;

/// Where a connection belongs: its project, and the group of its number there.
fn place(number: u32) -> (u32, u32) {
    (number % PROJECTS, number / PROJECTS % GROUPS)
}

pub(super) fn target(number: u32, subscription: u32) -> u32 {
    let (project, group) = place(number);
    match subscription {
        TASKS => project,
        NOTE => NOTES_AT + group,
        order => ORDERS_AT + (project * GROUPS + group) * ORDERS + order - FIRST_ORDER,
    }
}

/// Which of its subscriptions a connection hears trigger number `trigger` through.
pub(super) fn turn(trigger: u64) -> u32 {
    match trigger % TURNS {
        // The first: while only the first subscriptions are there, which are for tasks.
        0..TASK_TURNS => TASKS,
        TASK_TURNS => NOTE,
        _ => FIRST_ORDER + (trigger / TURNS % u64::from(ORDERS)) as u32,
    }
}

pub(super) fn room(target: u32) -> String {
    if target < NOTES_AT {
        return task(target, "1");
    }
    if target < ORDERS_AT {
        return note("*", target - NOTES_AT);
    }
    let order = target - ORDERS_AT;
    let in_project = GROUPS * ORDERS;
    format!(
        r#"{{"target":"order","project":"{}","id":"{}"}}"#,
        order / in_project,
        order % in_project
    )
}

pub(super) fn subscribed(number: u32, subscription: u32) -> String {
    let (project, group) = place(number);
    match subscription {
        TASKS => task(project, "*"),
        NOTE => note(&project.to_string(), group),
        order => room(target(number, order)),
    }
}

fn task(project: u32, id: &str) -> String {
    format!(r#"{{"target":"task","project":"{project}","id":"{id}"}}"#)
}

fn note(project: &str, id: u32) -> String {
    format!(r#"{{"target":"note","project":"{project}","id":"{id}"}}"#)
}

/// The answer to user `number`'s bootstrap call: everything of the user's project.
pub(super) fn bootstrap(number: &str) -> String {
    let project = place(number.parse().unwrap_or(0)).0;
    let grants = ["task", "note", "order"]
        .map(|kind| format!(r#"{{"target":"{kind}","project":"{project}","id":"*"}}"#));
    format!(r#"{{"allowed_rooms":[{}]}}"#, grants.join(","))
}

/// How many of the first `listening` connections hear a target.
pub(super) fn receivers(target: u32, listening: usize) -> usize {
    let members = |project: u32| listening.saturating_sub(project as usize).div_ceil(100);
    let grouped = |project, group: u32| {
        let members: usize = members(project);
        members.saturating_sub(group as usize).div_ceil(10)
    };
    if target < NOTES_AT {
        return members(target);
    }
    if target < ORDERS_AT {
        let group = target - NOTES_AT;
        return (0..PROJECTS).map(|p| grouped(p, group)).sum();
    }
    let block = (target - ORDERS_AT) / ORDERS;
    grouped(block / GROUPS, block % GROUPS)
}

/// Deliveries of a trigger on average over a whole turn of all kinds and connections.
pub(super) fn receivers_mean(connections: usize) -> f64 {
    let mean = |subscription| {
        let sum: usize = (0..connections as u32)
            .map(|n| receivers(target(n, subscription), connections))
            .sum();
        sum as f64 / connections.max(1) as f64
    };
    let orders = TURNS - 1 - TASK_TURNS;
    let weighed = mean(NOTE) + TASK_TURNS as f64 * mean(TASKS) + orders as f64 * mean(FIRST_ORDER);
    weighed / TURNS as f64
}

#[cfg(test)]
mod tests {
    use std::collections::{HashMap, HashSet};

    use super::*;

    #[test]
    fn receivers_are_those_who_subscribe() {
        for listening in [1, 20, 100, 101, 999, 1000, 2345] {
            let mut received_by: HashMap<u32, usize> = HashMap::new();
            for number in 0..listening as u32 {
                for subscription in 0..SUBSCRIPTIONS {
                    *received_by.entry(target(number, subscription)).or_default() += 1;
                }
            }
            for checked in (0..TARGETS as u32).filter(|t| t % 7 == 0 || *t < 200) {
                let expected = received_by.get(&checked).copied().unwrap_or(0);
                assert_eq!(
                    receivers(checked, listening),
                    expected,
                    "{checked} {listening}"
                );
            }
        }
    }

    #[test]
    fn a_connection_hears_a_target_once_and_may_subscribe_to_it() {
        let targets: HashSet<u32> = (0..SUBSCRIPTIONS).map(|s| target(777, s)).collect();
        assert_eq!(targets.len(), SUBSCRIPTIONS as usize);
        assert!(targets.iter().all(|t| (*t as usize) < TARGETS));
        let grants = bootstrap("777");
        for (subscription, kind) in [(0, "task"), (1, "note"), (2, "order"), (99, "order")] {
            let room: serde_json::Value =
                serde_json::from_str(&subscribed(777, subscription)).unwrap();
            assert_eq!(room["target"], kind);
            assert_eq!(room["project"], "77");
            assert!(
                grants.contains(&format!(r#""{kind}","project":"77""#)),
                "{grants}"
            );
        }
    }

    #[test]
    fn the_mean_is_that_of_the_triggers() {
        let connections = 1000;
        let turns = TURNS * connections;
        let sum: usize = (0..turns)
            .map(|t| super::super::Rooms::Many.target_of(t, connections as usize))
            .map(|target| receivers(target, connections as usize))
            .sum();
        let mean = receivers_mean(connections as usize);
        assert!(
            (sum as f64 / turns as f64 - mean).abs() < 0.01 * mean,
            "{mean}"
        );
    }
}
