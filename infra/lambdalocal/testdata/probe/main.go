// Command probe is a bootstrap that does what a test asks of it: the path's last segment.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/aws/aws-lambda-go/events"
	"github.com/aws/aws-lambda-go/lambda"
)

var count atomic.Int64

func main() {
	if os.Getenv("SLOW_START") != "" {
		time.Sleep(time.Hour)
	}
	go func() { // a frozen instance does not count
		for range time.Tick(time.Millisecond) {
			count.Add(1)
		}
	}()
	lambda.Start(answer)
}

func answer(_ context.Context, event json.RawMessage) (any, error) {
	var batch events.SQSEvent
	if err := json.Unmarshal(event, &batch); err == nil && len(batch.Records) > 0 {
		return work(batch)
	}
	var e events.APIGatewayProxyRequest
	if err := json.Unmarshal(event, &e); err != nil {
		return nil, err
	}
	if strings.HasPrefix(e.Resource, "/streams") {
		return stream(e)
	}
	text := func(s string) (any, error) { return events.APIGatewayProxyResponse{StatusCode: 200, Body: s}, nil }
	switch do := e.Path[strings.LastIndexByte(e.Path, '/')+1:]; do {
	case "pid":
		time.Sleep(200 * time.Millisecond)
		return text(strconv.Itoa(os.Getpid()))
	case "count":
		return text(strconv.FormatInt(count.Load(), 10))
	case "panic":
		panic("boom")
	case "error":
		return nil, errors.New("no")
	case "exit":
		os.Exit(3)
	case "sleep":
		time.Sleep(time.Minute)
	case "large":
		return text(strings.Repeat("x", 6<<20+200))
	case "malformed":
		return map[string]any{"status": 200}, nil
	case "status":
		return events.APIGatewayProxyResponse{StatusCode: 9}, nil
	case "headers":
		return events.APIGatewayProxyResponse{StatusCode: 401, Headers: map[string]string{"X-Both": "one"}, MultiValueHeaders: map[string][]string{
			"X-Both": {"a", "b"}, "Www-Authenticate": {"Bearer"}}}, nil
	case "binary":
		return events.APIGatewayProxyResponse{StatusCode: 200, Body: "AP8B", IsBase64Encoded: true, Headers: map[string]string{"Content-Type": "audio/wav"}}, nil
	case "memory":
		block := make([]byte, 200<<20)
		for i := 0; i < len(block); i += 4096 {
			block[i] = 1
		}
		return text(fmt.Sprint(len(block)))
	}
	return text(string(event))
}

// work does what each message's body says.
func work(batch events.SQSEvent) (any, error) {
	var out events.SQSEventResponse
	for _, m := range batch.Records {
		fmt.Printf("%s %s %s %s\n", m.Body, m.EventSourceARN, m.Attributes["ApproximateReceiveCount"], *m.MessageAttributes["kind"].StringValue)
		switch m.Body {
		case "fail":
			out.BatchItemFailures = append(out.BatchItemFailures, events.SQSBatchItemFailure{ItemIdentifier: m.MessageId})
		case "panic":
			panic("boom")
		}
	}
	return out, nil
}

func stream(e events.APIGatewayProxyRequest) (any, error) {
	r, w := io.Pipe()
	do := e.Path[strings.LastIndexByte(e.Path, '/')+1:]
	switch do {
	case "buffered":
		return events.APIGatewayProxyResponse{StatusCode: 200, Body: "whole"}, nil
	case "raw":
		return strings.NewReader(strings.Repeat("no head", 10_000)), nil
	case "empty":
		return &events.APIGatewayProxyStreamingResponse{StatusCode: 200, Body: strings.NewReader("")}, nil
	}
	go func() {
		for i := range 3 {
			fmt.Fprintf(w, "part %d\n", i)
			time.Sleep(150 * time.Millisecond)
			switch {
			case do == "exit" && i == 1:
				os.Exit(3)
			case do == "error" && i == 1:
				_ = w.CloseWithError(errors.New("no more"))
				return
			case do == "endless":
				time.Sleep(time.Minute)
			}
		}
		_ = w.Close()
	}()
	return &events.APIGatewayProxyStreamingResponse{StatusCode: 201, Headers: map[string]string{"Content-Type": "text/plain"}, Cookies: []string{"a=1", "b=2"}, Body: r}, nil
}
