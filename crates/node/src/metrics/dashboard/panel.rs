//! A panel of the dashboard: what it shows of a metric, and where.

use prometheus_client::metrics::MetricType;
use serde_json::{Value, json};

use crate::metrics::dashboard::SELECTOR;
use crate::metrics::{Metric, Read};

/// Columns of Grafana's grid.
const COLUMNS: u32 = 24;

/// Tenants that are shown, those with most.
const TENANTS: u32 = 10;

/// The free place of the dashboard. Panels fill it from left to right.
#[derive(Debug, Default)]
pub(super) struct Grid {
    /// Number of the last panel; the first is 1.
    id: u32,
    x: u32,
    y: u32,
    /// Height of the panels beside each other.
    height: u32,
    /// Where the row that is open began.
    row: Option<u32>,
}

/// Where a panel is.
#[derive(Debug)]
pub(super) struct Place {
    pub(super) id: u32,
    x: u32,
    y: u32,
    width: u32,
    height: u32,
}

impl Place {
    pub(super) fn position(&self) -> Value {
        json!({"x": self.x, "y": self.y, "w": self.width, "h": self.height})
    }
}

impl Grid {
    /// Takes a place of this size.
    pub(super) fn next(&mut self, width: u32, height: u32) -> Place {
        if self.x + width > COLUMNS {
            self.end_line();
        }
        self.id += 1;
        let place = Place {
            id: self.id,
            x: self.x,
            y: self.y,
            width,
            height,
        };
        self.x += width;
        self.height = self.height.max(height);
        place
    }

    /// The next panel begins at the left.
    pub(super) fn end_line(&mut self) {
        self.y += self.height;
        (self.x, self.height) = (0, 0);
    }

    /// Takes the place of a row's title, below everything.
    pub(super) fn row(&mut self) -> Place {
        self.end_line();
        let place = self.next(COLUMNS, 1);
        self.row = Some(place.y + 1);
        place
    }

    /// Ends a row whose panels are hidden: the next one follows its title.
    pub(super) fn close(&mut self) {
        self.y = self.row.take().unwrap_or(self.y);
        (self.x, self.height) = (0, 0);
    }
}

/// The data source that the viewer chooses.
pub(super) fn datasource() -> Value {
    json!({"type": "prometheus", "uid": "${datasource}"})
}

/// A line of a panel: PromQL, and the legend.
pub(super) type Target = (String, String);

/// A panel without its place.
#[derive(Debug)]
pub(super) struct Panel {
    pub(super) kind: &'static str,
    pub(super) title: String,
    pub(super) description: String,
    pub(super) unit: &'static str,
    pub(super) targets: Vec<Target>,
}

impl Panel {
    /// What there is to see of a metric.
    pub(super) fn of(metric: &Metric) -> Self {
        Self {
            kind: "timeseries",
            title: title(metric.name),
            description: format!("{}.\n\nWhen to alert: {}", metric.help(), metric.worry),
            unit: unit(metric),
            targets: targets(metric),
        }
    }

    pub(super) fn json(self, place: Place) -> Value {
        let letters = ('A'..='Z').map(String::from);
        let targets: Vec<_> = letters
            .zip(&self.targets)
            .map(|(letter, (expr, legend))| {
                json!({
                    "refId": letter,
                    "datasource": datasource(),
                    "expr": expr,
                    "legendFormat": legend,
                    "range": true,
                })
            })
            .collect();
        json!({
            "type": self.kind,
            "id": place.id,
            "title": self.title,
            "description": self.description,
            "gridPos": place.position(),
            "datasource": datasource(),
            "targets": targets,
            "fieldConfig": {"defaults": {"unit": self.unit, "min": 0}, "overrides": []},
            "options": {},
        })
    }
}

/// `backend_calls_in_flight` as words.
fn title(name: &str) -> String {
    let words = name.replace('_', " ");
    let mut letters = words.chars();
    match letters.next() {
        Some(first) => first.to_uppercase().chain(letters).collect(),
        None => words,
    }
}

fn is_counter(metric: &Metric) -> bool {
    matches!(metric.kind(), MetricType::Counter)
}

/// Grafana's name of the unit.
fn unit(metric: &Metric) -> &'static str {
    let ends_with = |word: &str| metric.name.ends_with(word);
    match (
        is_counter(metric),
        ends_with("_bytes"),
        ends_with("_seconds"),
    ) {
        (false, true, _) => "bytes",
        (true, true, _) => "Bps",
        (false, false, _) if metric.name.contains("seconds") => "s",
        // Seconds in a second: cores, or open connections.
        (true, false, true) | (false, false, _) => "short",
        (true, false, false) => "cps",
    }
}

fn targets(metric: &Metric) -> Vec<Target> {
    let name = metric.full_name();
    let gauge = format!("{name}{SELECTOR}");
    let rate = format!("rate({name}_total{SELECTOR}[$__rate_interval])");
    let line = |expr: String, legend: &str| vec![(expr, legend.to_owned())];
    let by = |label: &str, expr: &str| {
        let sum = format!("sum by ({label}) ({expr})");
        vec![(sum, format!("{{{{{label}}}}}"))]
    };
    match &metric.read {
        Read::GaugeByShard(_) | Read::SecondsByShard(_) => {
            line(gauge, "{{instance}} thread {{shard}}")
        }
        Read::GaugeBy(label, ..) => by(label, &gauge),
        Read::CounterBy(label, ..) => by(label, &rate),
        Read::Sum(stat) => match stat.label {
            Some(label) => by(label.name, &rate),
            None => line(
                if is_counter(metric) { rate } else { gauge },
                "{{instance}}",
            ),
        },
        Read::Histogram(_) => quantiles(&name),
        Read::TenantGauge(_) => of_tenants(&gauge),
        Read::TenantCounter(_) => of_tenants(&rate),
        Read::OwnLogGauge(_) | Read::OwnLogSeconds(_) => line(gauge, "{{tenant}} {{instance}}"),
        Read::OwnLogCounter(_) => line(rate, "{{tenant}} {{instance}}"),
        Read::TenantCounterBy(label, ..) => {
            let sum = format!("topk({TENANTS}, sum by (tenant, {label}) ({rate}))");
            vec![(sum, format!("{{{{tenant}}}} {{{{{label}}}}}"))]
        }
        Read::Build => {
            let sum = format!("count by (version, commit) ({gauge})");
            line(sum, "{{version}} {{commit}}")
        }
        // Its age says more.
        Read::ProcessGauge(_) if metric.name == "process_start_time_seconds" => {
            line(format!("time() - {gauge}"), "{{instance}}")
        }
        Read::Gauge(_)
        | Read::Seconds(_)
        | Read::BrokerGauge(_)
        | Read::TenantsGauge(_)
        | Read::UsageGauge(_)
        | Read::ProcessGauge(_) => line(gauge, "{{instance}}"),
        Read::Counter(_)
        | Read::BrokerCounter(_)
        | Read::TenantsCounter(_)
        | Read::UsageCounter(_)
        | Read::ProcessCounter(_) => line(rate, "{{instance}}"),
    }
}

fn of_tenants(expr: &str) -> Vec<Target> {
    let sum = format!("topk({TENANTS}, sum by (tenant) ({expr}))");
    vec![(sum, "{{tenant}}".to_owned())]
}

/// The median and the slowest hundredth of a histogram.
pub(super) fn quantiles(name: &str) -> Vec<Target> {
    let of = |quantile: &str, legend: &str| {
        let rate = format!("rate({name}_bucket{SELECTOR}[$__rate_interval])");
        let expr = format!("histogram_quantile({quantile}, sum by (le) ({rate}))");
        (expr, legend.to_owned())
    };
    vec![of("0.5", "median"), of("0.99", "99 %")]
}
