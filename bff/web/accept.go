package web

import (
	"mime"
	"net/http"
	"strconv"
	"strings"
)

// The media types of GraphQL over HTTP.
const (
	mediaResponse = "application/graphql-response+json"
	mediaJSON     = "application/json"
	mediaHTML     = "text/html"
)

// preference is how much a client wants a media type (RFC 9110, section 12.5.1).
type preference struct {
	quality float64
	// named reports that the client names the type itself rather than a range that it falls into.
	named bool
}

// prefers says how much the client wants a media type. Without an Accept field, or with an empty one, it takes anything.
func prefers(r *http.Request, media string) preference {
	fields := r.Header.Values("Accept")
	if strings.TrimSpace(strings.Join(fields, "")) == "" {
		return preference{quality: 1}
	}
	kind, _, _ := strings.Cut(media, "/")
	best, closest := preference{}, 0
	for _, field := range fields {
		for part := range strings.SplitSeq(field, ",") {
			name, params, _ := strings.Cut(part, ";")
			closeness := 0
			switch strings.ToLower(strings.TrimSpace(name)) {
			case media:
				closeness = 3
			case kind + "/*":
				closeness = 2
			case "*/*":
				closeness = 1
			}
			if closeness > closest {
				best, closest = preference{quality: quality(params), named: closeness == 3}, closeness
			}
		}
	}
	return best
}

// quality reads the weight among the parameters of a media range: 1 if there is none, or none that can be read.
func quality(params string) float64 {
	for param := range strings.SplitSeq(params, ";") {
		name, value, _ := strings.Cut(strings.TrimSpace(param), "=")
		if strings.EqualFold(name, "q") {
			if q, err := strconv.ParseFloat(value, 64); err == nil && q >= 0 && q <= 1 {
				return q
			}
		}
	}
	return 1
}

// negotiate picks the media type of an answer. The specification's own is for clients that name it, since others may
// not know it; it reports false if the client takes neither.
func negotiate(r *http.Request) (string, bool) {
	response, json := prefers(r, mediaResponse), prefers(r, mediaJSON)
	switch {
	case response.named && response.quality > 0 && response.quality >= json.quality:
		return mediaResponse, true
	case json.quality > 0:
		return mediaJSON, true
	case response.quality > 0:
		return mediaResponse, true
	}
	return mediaJSON, false
}

// wantsPage reports whether a GET comes from a browser's address bar rather than from a GraphQL client.
func wantsPage(r *http.Request) bool {
	html, json, response := prefers(r, mediaHTML), prefers(r, mediaJSON), prefers(r, mediaResponse)
	if !html.named || json.named && json.quality >= html.quality || response.named && response.quality >= html.quality {
		return false
	}
	query := r.URL.Query()
	return !query.Has("query") && !query.Has("extensions")
}

// isJSON reports whether a Content-Type is JSON in UTF-8.
func isJSON(contentType string) bool {
	media, params, err := mime.ParseMediaType(contentType)
	if err != nil || media != mediaJSON {
		return false
	}
	charset, given := params["charset"]
	return !given || strings.EqualFold(charset, "utf-8") || strings.EqualFold(charset, "utf8")
}
