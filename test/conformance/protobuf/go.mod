module github.com/portico-bff/portico/test/conformance/protobuf

go 1.26.0

require (
	github.com/portico-bff/portico v0.0.0
	google.golang.org/protobuf v1.36.12
)

require github.com/agnivade/levenshtein v1.2.2 // indirect

replace github.com/portico-bff/portico => ../../..
