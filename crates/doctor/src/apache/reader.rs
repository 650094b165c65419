//! Reads a configuration in httpd's order: what one line defines holds for the next.

use std::collections::{BTreeMap, BTreeSet};

use super::config::{Config, Server, VirtualHost};
use super::include;
use super::lexer::{Line, expand, lines, words};
use super::listen::{self, Address, Listen};
use super::macros::Macro;
use crate::files::{Files, Place, join};
use crate::limits::{MAX_DEPTH, MAX_FILES, MAX_LINES, MAX_TOTAL_LEN};

/// Sections whose lines hold, or not, before anything else is known.
const CONDITIONS: [&str; 5] = ["ifmodule", "ifdefine", "ifversion", "iffile", "ifdirective"];

/// An open section.
struct Section {
    name: String,
    place: Place,
    text: String,
}

pub(super) struct Reader<'a> {
    server: &'a Server,
    files: &'a dyn Files,
    config: Config,
    root: String,
    defines: BTreeMap<String, String>,
    modules: BTreeSet<String>,
    macros: BTreeMap<String, Macro>,
    open: Vec<Section>,
    /// Files and macros that are being read, each because of the one before.
    reading: Vec<String>,
    lines: usize,
    bytes: usize,
}

impl<'a> Reader<'a> {
    pub(super) fn new(server: &'a Server, files: &'a dyn Files) -> Self {
        let defines = server
            .defines
            .iter()
            .map(|name| (name.clone(), String::new()));
        Self {
            server,
            files,
            config: Config::default(),
            root: server.root.clone(),
            defines: defines.collect(),
            modules: server.built_in.iter().cloned().collect(),
            macros: BTreeMap::new(),
            open: Vec::new(),
            reading: Vec::new(),
            lines: 0,
            bytes: 0,
        }
    }

    pub(super) fn read(mut self, path: &str) -> Config {
        self.file(path, 0);
        self.config
    }

    fn file(&mut self, path: &str, depth: usize) {
        let place = Place::file(path);
        let bytes = match self.files.read(path) {
            Ok(bytes) => bytes,
            Err(error) => {
                return self.config.problem(
                    &place,
                    "",
                    true,
                    format!("cannot read {path}: {error}"),
                );
            }
        };
        self.bytes += bytes.len();
        if self.is_full() {
            self.config.left_out += 1;
            let message = format!("more than {MAX_FILES} files, or {MAX_TOTAL_LEN} bytes");
            return self.config.problem(&place, "", false, message);
        }
        self.config.files.push(path.to_owned());
        self.reading.push(path.to_owned());
        let opened = self.open.len();
        self.block(path, &lines(&String::from_utf8_lossy(&bytes)), depth);
        self.close_down_to(opened);
        self.reading.pop();
    }

    fn is_full(&self) -> bool {
        self.config.files.len() >= MAX_FILES || self.lines > MAX_LINES || self.bytes > MAX_TOTAL_LEN
    }

    /// Sections that a file leaves open.
    fn close_down_to(&mut self, opened: usize) {
        for section in self.open.split_off(opened.min(self.open.len())) {
            let message = format!("<{}> is never closed", section.name);
            self.config
                .problem(&section.place, &section.text, true, message);
        }
    }

    fn block(&mut self, path: &str, block: &[Line], depth: usize) {
        let mut at = 0;
        while let Some(line) = block.get(at) {
            at += 1;
            if line.is_blank() {
                continue;
            }
            self.lines += 1;
            let place = Place {
                file: path.to_owned(),
                line: line.first,
            };
            if self.lines > MAX_LINES || self.bytes > MAX_TOTAL_LEN {
                self.config.left_out += 1;
                let message = format!("more than {MAX_LINES} lines: the rest is not read");
                return self.config.problem(&place, &line.text, false, message);
            }
            at += if let Some(tag) = line.text.strip_prefix('<') {
                self.section(&place, line, tag, block.get(at..).unwrap_or_default())
            } else {
                self.directive(&place, line, depth);
                0
            };
        }
    }

    /// A line in angle brackets; returns how many of the lines behind it are used up.
    fn section(&mut self, place: &Place, line: &Line, tag: &str, behind: &[Line]) -> usize {
        let tag = tag.strip_suffix('>').unwrap_or(tag);
        if let Some(name) = tag.strip_prefix('/') {
            self.close(place, line, name.trim());
            return 0;
        }
        let mut arguments = self.expanded(place, line, words(tag));
        if arguments.is_empty() {
            self.config
                .problem(place, &line.text, true, "incomplete <> section".to_owned());
            return 0;
        }
        let name = arguments.remove(0).to_ascii_lowercase();
        let end = || end_of(&name, behind);
        if CONDITIONS.contains(&name.as_str()) {
            if !self.holds(place, line, &name, &arguments) {
                return end().map_or(behind.len(), |end| end + 1);
            }
        } else if name == "macro" {
            let end = end();
            self.define_macro(
                place,
                line,
                &arguments,
                behind.get(..end.unwrap_or(behind.len())),
            );
            return end.map_or(behind.len(), |end| end + 1);
        } else if name == "virtualhost" {
            self.virtual_host(place, line, &arguments);
        }
        self.open.push(Section {
            name,
            place: place.clone(),
            text: line.text.clone(),
        });
        0
    }

    fn close(&mut self, place: &Place, line: &Line, name: &str) {
        match self.open.last() {
            Some(section) if section.name.eq_ignore_ascii_case(name) => {
                self.open.pop();
            }
            Some(section) => {
                let message = format!(
                    "</{}> is expected: it was opened in line {} of {}",
                    section.name, section.place.line, section.place.file
                );
                self.config.problem(place, &line.text, true, message);
            }
            None => {
                let message = format!("</{name}> closes nothing");
                self.config.problem(place, &line.text, true, message);
            }
        }
    }

    fn define_macro(
        &mut self,
        place: &Place,
        line: &Line,
        arguments: &[String],
        body: Option<&[Line]>,
    ) {
        let [name, parameters @ ..] = arguments else {
            let message = "<Macro> needs a name".to_owned();
            return self.config.problem(place, &line.text, true, message);
        };
        let body = body.unwrap_or_default().to_vec();
        // Its body is kept, so it counts even when nobody uses it.
        self.lines += body.len();
        self.macros.insert(
            name.to_ascii_lowercase(),
            Macro {
                parameters: parameters.to_vec(),
                body,
            },
        );
    }

    fn virtual_host(&mut self, place: &Place, line: &Line, arguments: &[String]) {
        if self
            .open
            .iter()
            .any(|section| section.name == "virtualhost")
        {
            let message = "<VirtualHost> cannot stand in another".to_owned();
            return self.config.problem(place, &line.text, true, message);
        }
        if arguments.is_empty() {
            let message = "<VirtualHost> needs an address".to_owned();
            return self.config.problem(place, &line.text, true, message);
        }
        let mut addresses = Vec::new();
        for word in arguments {
            match virtual_host_address(word) {
                Ok(address) => addresses.push(address),
                Err(message) => self.config.problem(place, &line.text, true, message),
            }
        }
        self.config.virtual_hosts.push(VirtualHost {
            place: place.clone(),
            addresses,
            text: line.text.clone(),
        });
    }

    fn directive(&mut self, place: &Place, line: &Line, depth: usize) {
        let mut arguments = self.expanded(place, line, words(&line.text));
        if arguments.is_empty() {
            return;
        }
        let name = arguments.remove(0).to_ascii_lowercase();
        match (name.as_str(), arguments.as_slice()) {
            ("listen", _) => self.listen(place, line, &arguments),
            ("serverroot", [root]) => self.root.clone_from(root),
            ("loadmodule", [module, file]) => self.load_module(module, file),
            ("define", [name]) => self.define(name, ""),
            ("define", [name, value]) => self.define(name, value),
            ("undefine", [name]) => drop(self.defines.remove(name)),
            ("include", [path]) => self.include(place, line, path, true, depth),
            ("includeoptional", [path]) => self.include(place, line, path, false, depth),
            ("use", [name, values @ ..]) => self.use_macro(place, line, (name, values), depth),
            ("undefmacro", [name]) => drop(self.macros.remove(&name.to_ascii_lowercase())),
            ("errorlog", [target, ..]) => self.error_log(target),
            ("port" | "bindaddress", _) => {
                let message = "was removed with Apache 2.0: Listen says both".to_owned();
                self.config.problem(place, &line.text, true, message);
            }
            // Everything else says nothing about who listens where.
            _ => {}
        }
    }

    fn expanded(&mut self, place: &Place, line: &Line, words: Vec<String>) -> Vec<String> {
        let mut result = Vec::with_capacity(words.len());
        for word in words {
            let mut variables = &self.defines;
            let merged: BTreeMap<String, String>;
            if word.contains("${") && !self.server.environment.is_empty() {
                // Defines win over the environment.
                let environment = self.server.environment.clone().into_iter();
                merged = environment.chain(self.defines.clone()).collect();
                variables = &merged;
            }
            let Some((word, unknown)) = expand(&word, variables) else {
                let message = "a word becomes too long once variables are put in".to_owned();
                self.config.problem(place, &line.text, false, message);
                return Vec::new();
            };
            for name in unknown {
                let message = format!("${{{name}}} is not defined");
                self.config.problem(place, &line.text, false, message);
            }
            result.push(word);
        }
        result
    }

    fn listen(&mut self, place: &Place, line: &Line, arguments: &[String]) {
        if let Some(section) = self
            .open
            .iter()
            .find(|section| !CONDITIONS.contains(&section.name.as_str()))
        {
            let message = format!("Listen cannot stand in <{}>", section.name);
            return self.config.problem(place, &line.text, true, message);
        }
        match listen::parse(arguments) {
            Ok((address, port, protocol, rest)) => self.config.listens.push(Listen {
                place: place.clone(),
                raw: line.raw.clone(),
                indent: line.indent().to_owned(),
                address,
                port,
                protocol,
                rest,
            }),
            Err(message) => self.config.problem(place, &line.text, true, message),
        }
    }

    /// `LoadModule ssl_module modules/mod_ssl.so` makes `ssl_module` and `mod_ssl.c`.
    fn load_module(&mut self, module: &str, file: &str) {
        let file = file.rsplit('/').next().unwrap_or(file);
        let stem = file.strip_suffix(".so").unwrap_or(file);
        self.modules.insert(module.to_owned());
        self.modules.insert(format!("{stem}.c"));
        if let Some(short) = stem.strip_prefix("mod_mpm_") {
            self.modules.insert(format!("{short}.c"));
        }
    }

    fn define(&mut self, name: &str, value: &str) {
        self.defines.insert(name.to_owned(), value.to_owned());
    }

    fn error_log(&mut self, target: &str) {
        let virtual_host = self
            .open
            .iter()
            .any(|section| section.name == "virtualhost");
        if !virtual_host && !target.starts_with('|') && !target.starts_with("syslog") {
            self.config.error_logs.push(join(&self.root, target));
        }
    }

    fn include(&mut self, place: &Place, line: &Line, path: &str, needed: bool, depth: usize) {
        if depth >= MAX_DEPTH {
            let message = format!("files are included more than {MAX_DEPTH} deep");
            return self.config.problem(place, &line.text, true, message);
        }
        let found = include::find(path, &self.root, self.files);
        if found.is_empty() && needed && crate::glob::is_pattern(path) {
            let message =
                "no file matches; httpd refuses that, IncludeOptional does not".to_owned();
            self.config.problem(place, &line.text, true, message);
        }
        for path in found {
            if !needed && !self.files.exists(&path) {
                continue;
            }
            if self.is_full() {
                self.config.left_out += 1;
                return;
            }
            if self.reading.contains(&path) {
                let message = format!("{path} includes itself: httpd gives up");
                self.config.problem(place, &line.text, true, message);
                continue;
            }
            self.file(&path, depth + 1);
        }
    }

    fn use_macro(
        &mut self,
        place: &Place,
        line: &Line,
        (name, values): (&str, &[String]),
        depth: usize,
    ) {
        let name = name.to_ascii_lowercase();
        // No path has this form.
        let mark = format!("<Macro {name}>");
        let expanded = match self.macros.get(&name) {
            _ if depth >= MAX_DEPTH => Err(format!("macros are used more than {MAX_DEPTH} deep")),
            _ if self.reading.contains(&mark) => Err(format!("the macro {name} uses itself")),
            Some(found) => found.expand(values),
            None => Err(format!("there is no macro {name}")),
        };
        match expanded {
            Ok(block) => {
                self.bytes += block.iter().map(|line| line.text.len()).sum::<usize>();
                let opened = self.open.len();
                self.reading.push(mark);
                self.block(&place.file, &block, depth + 1);
                self.reading.pop();
                self.close_down_to(opened);
            }
            Err(message) => self.config.problem(place, &line.text, true, message),
        }
    }

    fn holds(&mut self, place: &Place, line: &Line, name: &str, arguments: &[String]) -> bool {
        let Some(first) = arguments.first() else {
            let message = format!("<{name}> needs something to ask for");
            self.config.problem(place, &line.text, true, message);
            return false;
        };
        if name == "ifversion" {
            return self.version_holds(place, line, arguments);
        }
        let (negated, what) = match first.strip_prefix('!') {
            Some(what) => (true, what),
            None => (false, first.as_str()),
        };
        let holds = match name {
            "ifmodule" => self.modules.contains(what),
            "ifdefine" => self.defines.contains_key(what),
            "iffile" => self.files.exists(&join(&self.root, what)),
            // Which directives there are depends on modules that are not read here.
            _ => true,
        };
        holds != negated
    }

    fn version_holds(&mut self, place: &Place, line: &Line, arguments: &[String]) -> bool {
        let (operator, version) = match arguments {
            [version] => ("=", version.as_str()),
            [operator, version, ..] => (operator.as_str(), version.as_str()),
            [] => return false,
        };
        let (negated, operator) = match operator.strip_prefix('!') {
            Some(operator) => (true, operator),
            None => (false, operator),
        };
        let mut wanted = version.split('.').map(str::parse::<u32>);
        let mut next = || wanted.next().unwrap_or(Ok(0));
        let (Ok(major), Ok(minor), Ok(patch)) = (next(), next(), next()) else {
            let message = format!("{version}: only plain versions are compared here");
            self.config.problem(place, &line.text, false, message);
            return false;
        };
        let order = self.server.version.cmp(&(major, minor, patch));
        let holds = match operator {
            "=" | "==" => order.is_eq(),
            ">" => order.is_gt(),
            ">=" => order.is_ge(),
            "<" => order.is_lt(),
            "<=" => order.is_le(),
            _ => {
                let message = format!("`{operator}` compares no versions");
                self.config.problem(place, &line.text, true, message);
                false
            }
        };
        holds != negated
    }
}

/// Index of the line that closes the section `name`, whose lines these are.
fn end_of(name: &str, lines: &[Line]) -> Option<usize> {
    let mut depth = 0usize;
    lines.iter().position(|line| {
        let Some(tag) = line.text.strip_prefix('<') else {
            return false;
        };
        let closes = tag.strip_prefix('/');
        let tag = closes.unwrap_or(tag);
        let tag = tag.trim_end_matches('>').split_whitespace().next();
        if !tag.is_some_and(|tag| tag.eq_ignore_ascii_case(name)) {
            return false;
        }
        if closes.is_none() {
            depth += 1;
            return false;
        }
        depth = match depth.checked_sub(1) {
            Some(depth) => depth,
            None => return true,
        };
        false
    })
}

/// `ADDRESS[:PORT]` of a virtual host; `_default_` is any address.
fn virtual_host_address(word: &str) -> Result<(Address, Option<u16>), String> {
    let bare = word.ends_with(']') || !word.contains(':');
    let (host, port) = match word.rsplit_once(':') {
        Some((host, port)) if !bare => (host, port),
        Some(_) | None => (word, "*"),
    };
    let port = match port {
        "*" => None,
        port => Some(
            port.parse()
                .map_err(|_| format!("{word}: {port} is no port"))?,
        ),
    };
    let address = if host.eq_ignore_ascii_case("_default_") {
        Address::Any
    } else {
        listen::bound_to(host)?
    };
    Ok((address, port))
}
