// Package repo checks what no linter does: the rules of the repository as a whole,
// such as what lies at its top and what no file may contain. It has tests only.
package repo
