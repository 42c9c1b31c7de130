package main

import (
	"flag"
	"fmt"
	"os"
	"strings"
	"unicode/utf8"
)

// help returns the help of a command: what it does, its commands or flags with their defaults,
// examples.
func (c *command) help() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s: %s\n\nUsage:\n  %s\n", c.name, c.short, c.usage)
	section(&b, "Commands", c.list())
	if c.about != "" {
		fmt.Fprintf(&b, "\n%s\n", c.about)
	}
	var rows [][2]string
	c.flags.VisitAll(func(f *flag.Flag) {
		value, usage := flag.UnquoteUsage(f)
		switch {
		case f.DefValue != "":
			usage += " (default " + f.DefValue + ")"
		case !strings.Contains(usage, "(required)"):
			usage += " (default none)"
		}
		rows = append(rows, [2]string{strings.TrimSpace("-" + f.Name + " " + value), usage})
	})
	section(&b, "Flags", rows)
	if len(c.examples) > 0 {
		fmt.Fprintf(&b, "\nExamples:\n  %s\n", strings.Join(c.examples, "\n  "))
	}
	return b.String()
}

// list returns the commands of a group, and those of the groups in it, with what they do.
func (c *command) list() (rows [][2]string) {
	for _, sub := range c.subs {
		if sub.run != nil {
			rows = append(rows, [2]string{strings.TrimPrefix(sub.name, "gomae "), sub.short})
		}
		rows = append(rows, sub.list()...)
	}
	return rows
}

// section writes two aligned columns, the second one wrapped at 100 characters a line.
func section(b *strings.Builder, title string, rows [][2]string) {
	if len(rows) == 0 {
		return
	}
	const lineWidth = 100
	left := 0
	for _, r := range rows {
		left = max(left, utf8.RuneCountInString(r[0]))
	}
	fmt.Fprintf(b, "\n%s:\n", title)
	for _, r := range rows {
		fmt.Fprintf(b, "  %-*s ", left, r[0])
		at := left + 3
		for _, word := range strings.Fields(r[1]) {
			n := utf8.RuneCountInString(word) + 1
			if at+n > lineWidth && at > left+3 {
				fmt.Fprintf(b, "\n%*s", left+3, "")
				at = left + 3
			}
			b.WriteString(" " + word)
			at += n
		}
		b.WriteByte('\n')
	}
}

// quote returns a path as the shell of this system takes it.
func quote(path string) string { return quoteFor(os.PathSeparator, path) }

// quoteFor is quote for cmd.exe, where a backslash separates folders, or else for a Unix shell.
func quoteFor(separator rune, path string) string {
	if separator == '\\' {
		if path != "" && !strings.ContainsAny(path, " &|<>()^;,'") {
			return path
		}
		// A program takes a backslash before the closing quote for a sign that it does not close.
		return `"` + path + path[len(strings.TrimRight(path, `\`)):] + `"`
	}
	if path != "" && !strings.ContainsAny(path, " \t\n'\"\\$&;|<>()*?[]{}~#!`") {
		return path
	}
	return "'" + strings.ReplaceAll(path, "'", `'\''`) + "'"
}
