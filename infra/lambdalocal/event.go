package lambdalocal

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// proxyEvent is the event of a Lambda proxy integration, with the nulls that API Gateway sends.
type proxyEvent struct {
	Resource                        string              `json:"resource"`
	Path                            string              `json:"path"`
	HTTPMethod                      string              `json:"httpMethod"`
	Headers                         map[string]string   `json:"headers"`
	MultiValueHeaders               map[string][]string `json:"multiValueHeaders"`
	QueryStringParameters           map[string]string   `json:"queryStringParameters"`
	MultiValueQueryStringParameters map[string][]string `json:"multiValueQueryStringParameters"`
	PathParameters                  map[string]string   `json:"pathParameters"`
	StageVariables                  map[string]string   `json:"stageVariables"`
	RequestContext                  requestContext      `json:"requestContext"`
	Body                            *string             `json:"body"`
	IsBase64Encoded                 bool                `json:"isBase64Encoded"`
}

type requestContext struct {
	ResourceID        string         `json:"resourceId"`
	ResourcePath      string         `json:"resourcePath"`
	HTTPMethod        string         `json:"httpMethod"`
	ExtendedRequestID string         `json:"extendedRequestId"`
	RequestTime       string         `json:"requestTime"`
	Path              string         `json:"path"`
	AccountID         string         `json:"accountId"`
	Protocol          string         `json:"protocol"`
	Stage             string         `json:"stage"`
	DomainPrefix      string         `json:"domainPrefix"`
	RequestTimeEpoch  int64          `json:"requestTimeEpoch"`
	RequestID         string         `json:"requestId"`
	Identity          map[string]any `json:"identity"`
	DomainName        string         `json:"domainName"`
	DeploymentID      string         `json:"deploymentId"`
	APIID             string         `json:"apiId"`
}

// event is what the integration gets for a request: path and path parameters escaped as they came, query parameters decoded.
func (g *Gateway) event(r *http.Request, id, path string, resource *Resource, values map[string]string, body []byte) proxyEvent {
	now := time.Now()
	header := r.Header.Clone()
	header.Set("Host", r.Host)
	header["X-Forwarded-For"] = append(header["X-Forwarded-For"], clientIP(r))
	header.Set("X-Forwarded-Port", "443")
	header.Set("X-Forwarded-Proto", "https")
	header.Set("X-Amzn-Trace-Id", fmt.Sprintf("Root=1-%08x-%s", now.Unix(), strings.ReplaceAll(id, "-", "")[:24]))
	for _, name := range []string{"Connection", "Content-Length", "Transfer-Encoding", "Te", "Trailer", "Upgrade", "Expect"} {
		header.Del(name)
	}
	e := proxyEvent{Resource: resource.Path, Path: path, HTTPMethod: r.Method, MultiValueHeaders: header, Headers: last(header)}
	if query, _ := url.ParseQuery(r.URL.RawQuery); len(query) > 0 { // what can be read of it
		e.MultiValueQueryStringParameters, e.QueryStringParameters = query, last(query)
	}
	if len(values) > 0 {
		e.PathParameters = values
	}
	if len(body) > 0 {
		text, encoded := g.textBody(r.Header.Get("Content-Type"), body)
		e.Body, e.IsBase64Encoded = &text, encoded
	}
	whole := "/" + g.Stage + path
	if g.base != nil {
		whole = path
	}
	e.RequestContext = requestContext{ResourceID: resource.id, ResourcePath: resource.Path, HTTPMethod: r.Method, ExtendedRequestID: id[:16] + "=",
		RequestTime: now.UTC().Format("02/Jan/2006:15:04:05 -0700"), Path: whole, AccountID: Account, Protocol: r.Proto, Stage: g.Stage,
		DomainPrefix: strings.SplitN(r.Host, ".", 2)[0], RequestTimeEpoch: now.UnixMilli(), RequestID: id, DomainName: r.Host, DeploymentID: "local", APIID: apiID,
		Identity: map[string]any{"sourceIp": clientIP(r), "userAgent": r.UserAgent(), "accessKey": nil, "accountId": nil, "caller": nil, "user": nil, "userArn": nil,
			"cognitoIdentityId": nil, "cognitoIdentityPoolId": nil, "cognitoAuthenticationType": nil, "cognitoAuthenticationProvider": nil, "principalOrgId": nil}}
	return e
}

// last is each name's last value.
func last(multi map[string][]string) map[string]string {
	out := make(map[string]string, len(multi))
	for name, values := range multi {
		if len(values) > 0 {
			out[name] = values[len(values)-1]
		}
	}
	return out
}

// strict decodes a proxy response: a field that API Gateway does not know makes it malformed.
func strict(data []byte, into any) error {
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	if err := d.Decode(into); err != nil {
		return fmt.Errorf("malformed proxy response: %w: %.200q", err, data)
	}
	return nil
}

func encode64(b []byte) string { return base64.StdEncoding.EncodeToString(b) }

func decode64(s string) ([]byte, error) { return base64.StdEncoding.DecodeString(s) }
