package lambdalocal_test

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"mastralambda/infra/services"
	"mastralambda/infra/services/rdsdata"
	"mastralambda/shared/mastra"
	"mastralambda/shared/vectorstore/pgvector"
)

// What CloudFormation sends for the custom resource brings a database up to date, and is answered at the URL that it names.
func TestMigrateAnswersCloudFormation(t *testing.T) {
	const cluster, secret = "arn:aws:rds:us-east-1:1:cluster:c", "arn:aws:secretsmanager:us-east-1:1:secret:s"
	aurora := &rdsdata.Server{Postgres: services.Database(t), Cluster: cluster, Secret: secret}
	api := httptest.NewServer(aurora)
	defer api.Close()
	aurora.Sleep(1)
	env := []string{"AWS_ENDPOINT_URL_RDS_DATA=" + api.URL, "CLUSTER_ARN=" + cluster, "CLUSTER_DATABASE=mastra"}
	for _, c := range []struct {
		request, env, status string
	}{
		{"Create", "CLUSTER_SECRET_ARN=" + secret, "SUCCESS"}, {"Update", "CLUSTER_SECRET_ARN=" + secret, "SUCCESS"},
		{"Update", "CLUSTER_SECRET_ARN=another", "FAILED"}, {"Delete", "CLUSTER_SECRET_ARN=another", "SUCCESS"},
	} {
		in, _ := start(t, "migrate", append(env, c.env)...)
		var response struct{ Status, Reason, PhysicalResourceId, LogicalResourceId string } //nolint:revive // CloudFormation's names
		formation := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			if r.Method == http.MethodPut {
				_ = json.NewDecoder(r.Body).Decode(&response)
			}
		}))
		event, _ := json.Marshal(map[string]any{"RequestType": c.request, "ResponseURL": formation.URL, "RequestId": "1", "StackId": "s", "LogicalResourceId": "VectorMigrations",
			"PhysicalResourceId": "migrations", "ResourceType": "Custom::Migrations", "ResourceProperties": map[string]string{"Migrations": "x"}})
		a, err := in.Invoke(t.Context(), event, time.Minute)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.Copy(io.Discard, a.Body)
		a.Body.Close()
		formation.Close()
		if response.Status != c.status || response.PhysicalResourceId != "migrations" || c.status == "FAILED" && !strings.Contains(response.Reason, "AccessDenied") {
			t.Errorf("%s: %+v", c.request, response)
		}
	}
	store, err := pgvector.Open(aurora.Postgres)
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	if err := store.CreateIndex(t.Context(), mastra.VectorIndex{Name: "docs", Dimension: 3}); err != nil {
		t.Error(err)
	}
}
