package lambdalocal

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"
)

// Template is what a run needs of a SAM template: its functions and the API before them, with every intrinsic function resolved.
type Template struct {
	Functions []Function // by name
	API       API
	Queues    []QueueResource
	Groups    []string // of schedules, by the names that they have here
}

// QueueResource is one AWS::SQS::Queue.
type QueueResource struct {
	Name       string            // that it has here
	Attributes map[string]string // as SQS's API takes them
}

// Function is one AWS::Serverless::Function.
type Function struct {
	Name    string // its logical id
	Timeout time.Duration
	Memory  int // MB
	Env     map[string]string
	Routes  []Route
	Queues  []Queue
}

// Route is one Api event.
type Route struct {
	Path, Method string
	Streamed     bool
	Timeout      time.Duration // of the integration
}

// Queue is one SQS event.
type Queue struct {
	ARN            string
	Batch          int
	Concurrency    int
	PartialFailure bool // the function reports which messages failed
}

// API is the AWS::Serverless::Api.
type API struct {
	Stage       string
	BinaryTypes []string
	Rate        float64 // requests a second; 0: no throttling
	Burst       int
	Responses   map[string]GatewayResponse
}

// GatewayResponse is how the gateway words an answer of its own.
type GatewayResponse struct {
	Headers map[string]string
	JSON    string // the template of a JSON body
}

// Given is what a run lends the template instead of AWS.
type Given struct {
	Queues      string // the endpoint of an SQS, where queues have the names QueuePrefix + logical id, and schedule groups like them
	QueuePrefix string
	Parameters  map[string]string            // over the template's defaults
	Refs        map[string]string            // what !Ref of a resource is; its logical id where it is not given
	Attributes  map[string]string            // what !GetAtt is, by "Resource.Attribute"
	Env         map[string]string            // over each function's environment
	FunctionEnv map[string]map[string]string // over one function's environment
}

const (
	defaultIntegration = 29 * time.Second
	streamedMost       = 15 * time.Minute
)

// Load reads a template.
func Load(file string, given Given) (*Template, error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	t, err := Parse(data, given)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	return t, nil
}

// Parse reads a template.
func Parse(data []byte, given Given) (*Template, error) {
	var source templateSource
	if err := yaml.Unmarshal(data, &source); err != nil {
		return nil, err
	}
	r := &resolver{templateSource: source, given: given}
	t := &Template{}
	var errs []error
	for _, name := range slices.Sorted(maps.Keys(source.Resources)) {
		res := source.Resources[name]
		there, err := r.condition(res.Condition)
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", name, err))
		}
		if !there {
			continue
		}
		switch res.Type {
		case "AWS::Serverless::Function":
			var f Function
			if f, err = r.function(name, res.Properties); err == nil {
				t.Functions = append(t.Functions, f)
			}
		case "AWS::Serverless::Api":
			t.API, err = r.api(res.Properties)
		case "AWS::SQS::Queue":
			q := QueueResource{Name: given.QueuePrefix + name}
			if q.Attributes, err = r.attributes(res.Properties); err == nil {
				t.Queues = append(t.Queues, q)
			}
		case "AWS::Scheduler::ScheduleGroup":
			t.Groups = append(t.Groups, given.QueuePrefix+name)
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", name, err))
		}
	}
	return t, errors.Join(errs...)
}

type templateSource struct {
	Parameters map[string]struct {
		Default       string   `yaml:"Default"`
		AllowedValues []string `yaml:"AllowedValues"`
	} `yaml:"Parameters"`
	Mappings   map[string]map[string]map[string]yaml.Node `yaml:"Mappings"`
	Conditions map[string]yaml.Node                       `yaml:"Conditions"`
	Globals    struct {
		Function yaml.Node `yaml:"Function"`
	} `yaml:"Globals"`
	Resources map[string]struct {
		Type       string    `yaml:"Type"`
		Condition  string    `yaml:"Condition"`
		Properties yaml.Node `yaml:"Properties"`
	} `yaml:"Resources"`
}

func (r *resolver) function(name string, properties yaml.Node) (Function, error) {
	f := Function{Name: name, Timeout: 3 * time.Second, Memory: 128, Env: map[string]string{}}
	for _, node := range []yaml.Node{r.Globals.Function, properties} { // the function's own win
		for _, key := range []string{"Timeout", "MemorySize", "Environment"} {
			n := child(&node, key)
			if n == nil {
				continue
			}
			v, err := r.value(n)
			if err != nil {
				return f, err
			}
			switch key {
			case "Timeout":
				seconds, err := number(v)
				if err != nil {
					return f, fmt.Errorf("its Timeout: %w", err)
				}
				f.Timeout = time.Duration(seconds * float64(time.Second))
			case "MemorySize":
				mb, err := number(v)
				if err != nil {
					return f, fmt.Errorf("its MemorySize: %w", err)
				}
				f.Memory = int(mb)
			case "Environment":
				for name, value := range object(object(v)["Variables"]) {
					f.Env[name] = fmt.Sprint(value)
				}
			}
		}
	}
	maps.Copy(f.Env, r.given.Env)
	maps.Copy(f.Env, r.given.FunctionEnv[name])
	events := child(&properties, "Events")
	if events == nil {
		return f, nil
	}
	v, err := r.value(events)
	if err != nil {
		return f, err
	}
	all := object(v)
	for _, name := range slices.Sorted(maps.Keys(all)) {
		e := object(all[name])
		p := object(e["Properties"])
		switch e["Type"] {
		case "Api":
			route := Route{Path: text(p["Path"]), Method: text(p["Method"]), Streamed: p["ResponseTransferMode"] == "RESPONSE_STREAM", Timeout: defaultIntegration}
			if ms, ok := p["TimeoutInMillis"]; ok {
				n, err := number(ms)
				if most := cmp.Or(streamed(route.Streamed), defaultIntegration); err != nil || n < 50 || time.Duration(n)*time.Millisecond > most {
					return f, fmt.Errorf("%s: TimeoutInMillis %v: between 50 and %d", name, ms, most.Milliseconds())
				}
				route.Timeout = time.Duration(n) * time.Millisecond
			}
			f.Routes = append(f.Routes, route)
		case "SQS":
			q := Queue{ARN: text(p["Queue"]), Batch: 10, Concurrency: 2, PartialFailure: slices.Contains(list(p["FunctionResponseTypes"]), any("ReportBatchItemFailures"))}
			if n, err := number(p["BatchSize"]); err == nil {
				q.Batch = int(n)
			}
			if n, err := number(object(p["ScalingConfig"])["MaximumConcurrency"]); err == nil {
				q.Concurrency = int(n)
			}
			f.Queues = append(f.Queues, q)
		}
	}
	return f, nil
}

// attributes are a queue's: scalars as they are, RedrivePolicy as JSON; what SQS's API takes otherwise (tags, a name) is left out.
func (r *resolver) attributes(properties yaml.Node) (map[string]string, error) {
	out := map[string]string{}
	v, err := r.value(&properties)
	for name, value := range object(v) {
		switch name {
		case "VisibilityTimeout", "MessageRetentionPeriod", "DelaySeconds", "ReceiveMessageWaitTimeSeconds", "MaximumMessageSize":
			out[name] = text(value)
		case "RedrivePolicy":
			data, err := json.Marshal(value)
			if err != nil {
				return nil, err
			}
			out[name] = string(data)
		}
	}
	return out, err
}

func streamed(is bool) time.Duration {
	if is {
		return streamedMost
	}
	return 0
}

func (r *resolver) api(properties yaml.Node) (API, error) {
	a := API{Responses: map[string]GatewayResponse{}}
	for key, read := range map[string]func(any) error{
		"StageName": func(v any) error { a.Stage = text(v); return nil },
		"BinaryMediaTypes": func(v any) error {
			for _, t := range list(v) {
				a.BinaryTypes = append(a.BinaryTypes, strings.ReplaceAll(text(t), "~1", "/"))
			}
			return nil
		},
		"MethodSettings": func(v any) error {
			for _, s := range list(v) {
				s := object(s)
				if s["ResourcePath"] != "/*" || s["HttpMethod"] != "*" || s["ThrottlingRateLimit"] == nil {
					continue
				}
				rate, err := number(s["ThrottlingRateLimit"])
				burst, err2 := number(s["ThrottlingBurstLimit"])
				if err := errors.Join(err, err2); err != nil {
					return err
				}
				a.Rate, a.Burst = rate, int(burst)
			}
			return nil
		},
		"GatewayResponses": func(v any) error {
			for name, response := range object(v) {
				g := GatewayResponse{Headers: map[string]string{}, JSON: text(object(object(response)["ResponseTemplates"])["application/json"])}
				for header, value := range object(object(object(response)["ResponseParameters"])["Headers"]) {
					g.Headers[header] = strings.Trim(text(value), "'") // a literal; mappings of the request are not done here
				}
				a.Responses[name] = g
			}
			return nil
		},
	} {
		n := child(&properties, key)
		if n == nil {
			continue
		}
		v, err := r.value(n)
		if err == nil {
			err = read(v)
		}
		if err != nil {
			return a, fmt.Errorf("%s: %w", key, err)
		}
	}
	return a, nil
}
