package lambdalocal

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
)

// InvokeAPI is Lambda's own API, as far as functions that call functions need it: Invoke, synchronous.
func (s *Stack) InvokeAPI() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /2015-03-31/functions/{name}/invocations", func(w http.ResponseWriter, r *http.Request) {
		if !strings.HasPrefix(r.Header.Get("Authorization"), "AWS4-HMAC-SHA256 ") {
			apiError(w, http.StatusForbidden, "MissingAuthenticationTokenException", "Missing Authentication Token")
			return
		}
		if kind := r.Header.Get("X-Amz-Invocation-Type"); kind != "" && kind != "RequestResponse" {
			apiError(w, http.StatusBadRequest, "InvalidParameterValueException", "only RequestResponse can be had here")
			return
		}
		pool := s.Pools[functionName(r.PathValue("name"))]
		if pool == nil {
			apiError(w, http.StatusNotFound, "ResourceNotFoundException", "Function not found: "+r.PathValue("name"))
			return
		}
		event, err := io.ReadAll(io.LimitReader(r.Body, maxPayload+1))
		if err != nil {
			return // the caller is gone
		}
		if len(event) > maxPayload {
			apiError(w, http.StatusRequestEntityTooLarge, "RequestEntityTooLargeException", fmt.Sprintf("Request must be smaller than %d bytes for the InvokeFunction operation", maxPayload))
			return
		}
		a, err := pool.Invoke(r.Context(), event)
		if errors.Is(err, ErrThrottled) {
			apiError(w, http.StatusTooManyRequests, "TooManyRequestsException", "Rate Exceeded.")
			return
		} else if err != nil {
			return
		}
		defer a.Body.Close()
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("X-Amz-Executed-Version", "$LATEST")
		if a.Failed {
			w.Header().Set("X-Amz-Function-Error", "Unhandled")
		}
		_, _ = io.Copy(w, a.Body)
	})
	return mux
}

// functionName is the logical id in a name, a partial or a whole ARN, with or without a qualifier.
func functionName(name string) string {
	if _, rest, ok := strings.Cut(name, "function:"); ok {
		name = rest
	}
	name, _, _ = strings.Cut(name, ":")
	return name
}

func apiError(w http.ResponseWriter, status int, kind, message string) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("X-Amzn-Errortype", kind)
	w.WriteHeader(status)
	fmt.Fprintf(w, `{"Type":"User","message":%q}`, message)
}
