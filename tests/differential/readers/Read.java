// Reads JSON with Jackson or Gson, as a tree or bound to the classes that are generated from the catalogue (Shapes).
import com.fasterxml.jackson.annotation.JsonInclude;
import com.fasterxml.jackson.core.json.JsonWriteFeature;
import com.fasterxml.jackson.databind.DeserializationFeature;
import com.fasterxml.jackson.databind.MapperFeature;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.SerializationFeature;
import com.fasterxml.jackson.databind.json.JsonMapper;
import com.google.gson.Gson;
import com.google.gson.GsonBuilder;
import com.google.gson.JsonParser;
import java.io.BufferedReader;
import java.io.BufferedWriter;
import java.io.InputStreamReader;
import java.io.OutputStreamWriter;
import java.io.PrintWriter;
import java.lang.reflect.Type;
import java.nio.charset.StandardCharsets;
import java.util.Base64;

class Read {
    interface Reader {
        String read(byte[] body, Type shape) throws Exception;
    }

    static Reader reader(String name) {
        ObjectMapper plain = JsonMapper.builder().enable(JsonWriteFeature.ESCAPE_NON_ASCII).build();
        ObjectMapper loose = JsonMapper.builder()
                .enable(MapperFeature.ACCEPT_CASE_INSENSITIVE_PROPERTIES)
                .disable(DeserializationFeature.FAIL_ON_UNKNOWN_PROPERTIES)
                .enable(JsonWriteFeature.ESCAPE_NON_ASCII)
                // An object with no field of a name that is known is read well, and has to be written out to be compared.
                .disable(SerializationFeature.FAIL_ON_EMPTY_BEANS)
                .serializationInclusion(JsonInclude.Include.NON_NULL)
                .build();
        Gson gson = new GsonBuilder().disableHtmlEscaping().create();
        switch (name) {
            case "jackson":
                return (body, shape) -> plain.writeValueAsString(plain.readTree(body));
            case "jackson-bind":
                return (body, shape) -> loose.writeValueAsString(loose.readValue(body, loose.constructType(shape)));
            case "gson":
                return (body, shape) -> JsonParser.parseString(new String(body, StandardCharsets.UTF_8)).toString();
            case "gson-bind":
                return (body, shape) -> {
                    Object bound = gson.fromJson(new String(body, StandardCharsets.UTF_8), shape);
                    return gson.toJson(bound, shape);
                };
            default:
                throw new IllegalArgumentException(name);
        }
    }

    public static void main(String[] arguments) throws Exception {
        Reader reader = reader(arguments[0]);
        BufferedReader in = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        PrintWriter out = new PrintWriter(new BufferedWriter(new OutputStreamWriter(System.out, StandardCharsets.UTF_8)));
        for (String line = in.readLine(); line != null; line = in.readLine()) {
            String[] parts = line.split(" ", -1);
            byte[] body = Base64.getDecoder().decode(parts[1]);
            try {
                out.println("=" + reader.read(body, Shapes.ALL[Integer.parseInt(parts[0])]).replace("\n", " "));
            } catch (Exception | StackOverflowError error) {
                out.println("!" + error.getClass().getSimpleName());
            }
        }
        out.flush();
    }
}
